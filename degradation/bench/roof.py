"""What a machine can do at most, measured, and the rate that it sets a network."""

from dataclasses import dataclass

from degradation.models.cost import Work


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
        """Images a second at the lower of both roofs."""
        arithmetic = self.convolution / one.training
        return min(arithmetic, self.copy / one.traffic(arm, compiled, bytes_each))
