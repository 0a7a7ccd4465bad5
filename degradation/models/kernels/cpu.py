"""`numerics.native`: what is slow in torch on a CPU, by kernels in C that are compiled here.

Two things are slow: a convolution's gradient by its weight, a third of an iteration at two thirds
of the other parts' rate (convolution.py), and everything between two convolutions, for which torch
passes over the maps once an operation (normalization.py). Both kernels also round less than
torch's, and sum in another order, so the bits are others. They use one thread.
"""

from torch import nn

from degradation.models.kernels import library
from degradation.models.kernels.convolution import convolve
from degradation.models.kernels.normalization import rectify
from degradation.models.layers import BatchNorm, Conv3x3


def use(network: nn.Module) -> None:
    """Let the kernels serve each layer that they fit. Raises ConfigError where none compiles."""
    library.load()
    for module in network.modules():
        if isinstance(module, Conv3x3) and module.in_channels % 8 == module.out_channels % 4 == 0:
            module.convolve = convolve
        if isinstance(module, BatchNorm) and module.num_features % 8 == 0 and not module.ghost:
            module.rectify = rectify
