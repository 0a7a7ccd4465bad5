"""What a network costs at least: operations, traffic and memory of training on one image.

A multiply-add counts as two operations; training is three forward passes (forward, gradient of the
input, gradient of the weights). Traffic counts how often a convolution's output is read or written,
in passes over it, forward and backward: see PASSES.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from degradation.config.architecture import units
from degradation.config.schema import Model

PASSES = {
    "torch": {"plain": 19.0, "residual": 22.0},
    "fused": {"plain": 14.0, "residual": 17.0},
    "compiled": {"plain": 14.0, "residual": 15.25},
}
"""Of each arm, by torch's own kernels, those of numerics.fused, and those of compiled blocks, which
also add a block's two gradients in a kernel that reads them anyway."""


@dataclass(frozen=True)
class Work:
    """Of a network, on one image."""

    operations: float
    """Of a forward pass."""
    outputs: float
    """Elements of all convolutions' outputs."""
    parameters: int

    @property
    def training(self) -> float:
        """Operations of a training iteration, per image."""
        return 3 * self.operations

    def traffic(self, arm: str, kernels: str, bytes_each: int) -> float:
        """Bytes of a training iteration, per image; `kernels`: a key of PASSES."""
        return self.outputs * PASSES[kernels][arm] * bytes_each

    def memory(self, batch_size: int, bytes_each: int) -> float:
        """Bytes that a training iteration needs at least.

        The backward pass needs two tensors of every convolution: its output, for the
        normalization, and what ReLU makes of it, for the next convolution. Beside them lie the
        parameters with gradients and momenta, in float32.
        """
        return 2 * self.outputs * batch_size * bytes_each + 3 * 4 * self.parameters


def work(model: Model, depth: int, side: int = 32, channels: int = 3, classes: int = 10) -> Work:
    """Of the network of `depth` layers on images of `side` pixels."""
    *_, last = units(model.design, depth, model.width)
    operations, outputs = 2.0 * last.outputs * classes, 0.0
    parameters = last.outputs * classes + classes
    large = model.design == "imagenet"
    first = _Conv(channels, model.width, _half(side) if large else side, 7 if large else 3)
    for conv in (first, *_blocks(model, depth, side)):
        weights = conv.kernel**2 * conv.inputs * conv.filters
        operations += 2 * weights * conv.side**2
        outputs += conv.filters * conv.side**2
        parameters += weights + 2 * conv.filters  # those of its batch normalization
    return Work(operations, outputs, parameters)


@dataclass(frozen=True)
class _Conv:
    """A square kernel, on an output map of `side` pixels."""

    inputs: int
    filters: int
    side: int
    kernel: int


def _half(side: int) -> int:
    """What a stride of two, or a pool, leaves of a map's side."""
    return (side + 1) // 2


def _blocks(model: Model, depth: int, side: int) -> Iterator[_Conv]:
    if model.design == "imagenet":
        side = _half(_half(side))  # the first layer and the pool
    for unit in units(model.design, depth, model.width):
        before, side = side, _half(side) if unit.stride == 2 else side
        if unit.is_bottleneck:
            yield _Conv(unit.inputs, unit.width, side if model.stride_in_1x1 else before, 1)
            yield _Conv(unit.width, unit.width, side, 3)
            yield _Conv(unit.width, unit.outputs, side, 1)
        else:
            yield _Conv(unit.inputs, unit.outputs, side, 3)
            yield _Conv(unit.outputs, unit.outputs, side, 3)
        changes = unit.stride == 2 or unit.inputs != unit.outputs
        if model.shortcut == "projection_all" or (model.shortcut == "projection" and changes):
            yield _Conv(unit.inputs, unit.outputs, side, 1)
