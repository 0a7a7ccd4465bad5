"""`numerics.native`: what is slow in torch on a CPU, by kernels in C that are compiled here.

Two things are: a convolution's gradient by its weight, a third of an iteration at two thirds of the
other parts' rate (convolution.py), and everything between two convolutions, which torch does in
passes over memory of their own (normalisation.py). Both also round less than torch. They sum in
orders of their own, so the bits are others than torch's. One thread a run, as everywhere here.
"""

from torch import nn

from degradation.models.kernels import library
from degradation.models.kernels.convolution import convolve
from degradation.models.kernels.normalisation import rectify
from degradation.models.layers import BatchNorm, Conv3x3


def use(network: nn.Module) -> None:
    """Let the kernels serve each layer that they fit. Raises ConfigError where they can't be built."""
    library.load()
    for module in network.modules():
        if isinstance(module, Conv3x3) and module.in_channels % 8 == module.out_channels % 4 == 0:
            module.convolve = convolve
        if isinstance(module, BatchNorm) and module.num_features % 8 == 0 and not module.ghost:
            module.rectify = rectify
