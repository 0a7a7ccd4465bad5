"""What a network costs at least: operations, traffic and memory of one training picture.

Operations count two a multiply-add; training is three forwards (forward, gradient of the input,
gradient of the weights). Traffic counts how often a convolution's output is read or written, in
passes over it: eager kernels, forward and backward, take 19 (plain) or 22 (residual); with batch
normalisation, ReLU and addition in one kernel it is 14 or 15.25.
"""

from dataclasses import dataclass

from degradation.spec import blocks_per_stage

PASSES = {"plain": (19.0, 14.0), "residual": (22.0, 15.25)}
"""Of each arm: launched kernel by kernel, and with compiled blocks."""


@dataclass(frozen=True)
class Work:
    """Of one picture."""

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
        """Operations of a training iteration, a picture."""
        return 3 * self.operations

    def traffic(self, arm: str, compiled: bool, bytes_each: int) -> float:
        """Bytes of a training iteration, a picture."""
        return self.outputs * PASSES[arm][compiled] * bytes_each


def work(
    depth: int,
    side: int = 32,
    channels: int = 3,
    width: int = 16,
    classes: int = 10,
    shortcut: str = "identity",
) -> Work:
    """Of the CIFAR-10 network of `depth` layers on pictures of `side` pixels."""
    operations, outputs, parameters, normalised, tensors = 0.0, 0.0, 0, 0, 0

    def convolve(inputs: int, filters: int, pixels: int, kernel: int = 9) -> None:
        nonlocal operations, outputs, parameters, normalised, tensors
        operations += 2 * kernel * inputs * filters * pixels
        outputs += filters * pixels
        parameters += kernel * inputs * filters + 2 * filters
        normalised += filters
        tensors += 1

    convolve(channels, width, side**2)
    inputs = width
    for stage in range(3):
        filters, pixels = width * 2**stage, (side // 2**stage) ** 2
        for _ in range(blocks_per_stage(depth)):
            convolve(inputs, filters, pixels)
            convolve(filters, filters, pixels)
            if shortcut == "projection_all" or (shortcut == "projection" and inputs != filters):
                convolve(inputs, filters, pixels, kernel=1)
            inputs = filters
    operations += 2 * inputs * classes
    return Work(operations, outputs, parameters + inputs * classes + classes, normalised, tensors)


@dataclass(frozen=True)
class Machine:
    """What a device was measured to do, in the run that reports it."""

    convolution: float
    """Operations a second."""
    product: float
    """The same of a large matrix product."""
    copy: float
    """Bytes a second, read and written."""

    def rate(self, one: Work, arm: str, compiled: bool, bytes_each: int) -> float:
        """Pictures a second at the lower of both roofs."""
        arithmetic = self.convolution / one.training
        return min(arithmetic, self.copy / one.traffic(arm, compiled, bytes_each))
