"""What a network costs at least: operations, traffic and memory of one training image.

Operations count two a multiply-add; training is three forwards (forward, gradient of the input,
gradient of the weights). Traffic counts how often a convolution's output is read or written, in
passes over it: eager kernels, forward and backward, take 19 (plain) or 22 (residual); with batch
normalisation, ReLU and addition in one kernel it is 14 or 15.25.
"""

from dataclasses import dataclass

from degradation.config.architecture import units

PASSES = {"plain": (19.0, 14.0), "residual": (22.0, 15.25)}
"""Of each arm: launched kernel by kernel, and with compiled blocks."""


@dataclass(frozen=True)
class Work:
    """Of one image."""

    operations: float
    """Of a forward pass."""
    outputs: float
    """Elements of all convolutions' outputs."""
    parameters: int
    normalised: int
    """Channels of all batch normalisations."""
    convolutions: int

    @property
    def training(self) -> float:
        """Operations of a training iteration, a image."""
        return 3 * self.operations

    def traffic(self, arm: str, compiled: bool, bytes_each: int) -> float:
        """Bytes of a training iteration, a image."""
        return self.outputs * PASSES[arm][compiled] * bytes_each

    def memory(self, batch_size: int, bytes_each: int) -> float:
        """Bytes that a training iteration needs at least.

        The backward pass needs two tensors of every convolution: its output, for the
        normalisation, and what ReLU makes of it, for the next convolution. Beside them lie the
        parameters with gradients and momenta, in float32.
        """
        return 2 * self.outputs * batch_size * bytes_each + 3 * 4 * self.parameters


def work(
    depth: int,
    side: int = 32,
    channels: int = 3,
    width: int = 16,
    classes: int = 10,
    shortcut: str = "identity",
    design: str = "cifar",
    stride_in_1x1: bool = True,
) -> Work:
    """Of the network of `depth` layers on images of `side` pixels."""
    counted = _Counted()
    if design == "imagenet":
        counted.convolve(channels, width, (side := _half(side)), 7)
        side = _half(side)  # the pool
    else:
        counted.convolve(channels, width, side, 3)
    inputs = width
    for unit in units(design, depth, width):
        before, side = side, _half(side) if unit.stride == 2 else side
        if unit.is_bottleneck:
            counted.convolve(unit.inputs, unit.width, side if stride_in_1x1 else before, 1)
            counted.convolve(unit.width, unit.width, side, 3)
            counted.convolve(unit.width, unit.outputs, side, 1)
        else:
            counted.convolve(unit.inputs, unit.outputs, side, 3)
            counted.convolve(unit.outputs, unit.outputs, side, 3)
        changes = unit.stride == 2 or unit.inputs != unit.outputs
        if shortcut == "projection_all" or (shortcut == "projection" and changes):
            counted.convolve(unit.inputs, unit.outputs, side, 1)
        inputs = unit.outputs
    return Work(
        counted.operations + 2 * inputs * classes,
        counted.outputs,
        counted.parameters + inputs * classes + classes,
        counted.normalised,
        counted.convolutions,
    )


def _half(side: int) -> int:
    """What a stride of two, or a pool, leaves of a map's side."""
    return (side + 1) // 2


@dataclass
class _Counted:
    """Sums over convolutions, each with its batch normalisation."""

    operations: float = 0.0
    outputs: float = 0.0
    parameters: int = 0
    normalised: int = 0
    convolutions: int = 0

    def convolve(self, inputs: int, filters: int, side: int, kernel: int) -> None:
        """A square kernel, on an output map of `side` pixels."""
        weights = kernel**2 * inputs * filters
        self.operations += 2 * weights * side**2
        self.outputs += filters * side**2
        self.parameters += weights + 2 * filters
        self.normalised += filters
        self.convolutions += 1
