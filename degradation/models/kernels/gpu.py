"""`numerics.fused`: what torch does between two convolutions on a GPU, as one operation in Triton.

Of a layer without a shortcut, torch reads and writes its maps 13 times in seven kernels, forward
and backward; the kernels of triton_rectified.py do so eight times, and are four. They round less
than torch's and sum in another order, so the bits are others than torch's. Triton is imported here
alone, and only where it is needed: torch's CUDA build brings it along, the CPU build does not.
"""

from types import ModuleType

from torch import nn

from degradation.config.validation import ConfigError
from degradation.models.layers import BatchNorm


def use(network: nn.Module) -> None:
    """Let the kernels serve each batch normalization that ReLU follows, in training.

    The network's maps must be float32 or bfloat16 on a CUDA device. Raises ConfigError without
    Triton.
    """
    rectify = load().rectify
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.rectify = rectify


def versions() -> dict[str, str]:
    """What compiles the kernels, for a fingerprint. Raises ConfigError without Triton."""
    return {"triton": str(load().triton.__version__)}


def load() -> ModuleType:
    """The module with the kernels. Raises ConfigError without Triton, naming it."""
    try:
        from degradation.models.kernels import triton_rectified
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "triton":
            raise
        raise ConfigError(
            "numerics.fused=true: needs the package triton, which torch's CUDA build brings along "
            "and this Python has not; install that build (or triton itself, on Linux), or give "
            "numerics.fused=false"
        ) from error
    return triton_rectified
