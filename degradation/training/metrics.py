"""Losses and errors of minibatches, added up on the device and read when a row is due.

So is the first minibatch whose loss is no number: a network that diverges is a result, with its
iteration.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from degradation.training.devices.distributed import ProcessGroup

NOT_DIVERGED = -1


@dataclass
class MetricAccumulator:
    """Sums over the minibatches since the last reset; 0-dimensional tensors on the device."""

    batch_size: int
    """Images of a minibatch, over all processes."""
    loss: Tensor
    """Sum over the images, float64."""
    errors: Tensor
    batches: Tensor
    first_nonfinite: Tensor
    """Which of these minibatches was the first whose loss is not finite, or NOT_DIVERGED."""

    @classmethod
    def new(cls, batch_size: int, device: torch.device) -> Self:
        loss = torch.zeros((), dtype=torch.float64, device=device)
        counts = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(3)]
        counts[-1].fill_(NOT_DIVERGED)
        return cls(batch_size, loss, *counts)

    def add(self, loss: Tensor, errors: Tensor) -> None:
        """Add one minibatch's sums (see batch_sums). Nothing waits for the device."""
        is_first = (self.first_nonfinite == NOT_DIVERGED) & ~loss.isfinite()
        self.first_nonfinite.copy_(torch.where(is_first, self.batches, self.first_nonfinite))
        self.loss += loss
        self.errors += errors
        self.batches += 1

    def reset(self) -> None:
        for tensor in (self.loss, self.errors, self.batches):
            tensor.zero_()
        self.first_nonfinite.fill_(NOT_DIVERGED)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        names = ("loss", "errors", "batches", "first_nonfinite")
        return {f"{prefix}.{name}": getattr(self, name) for name in names}

    @property
    def images(self) -> int:
        return self.batch_size * int(self.batches)

    @property
    def mean_loss(self) -> float:
        return float(self.loss) / self.images

    @property
    def error(self) -> float:
        """In percent."""
        return 100 * int(self.errors) / self.images


def batch_sums(
    loss: Tensor, logits: Tensor, labels: Tensor, group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    """Sum of the losses (float64) and number of errors of a minibatch, over all processes, from
    the mean loss and the logits of this process's share of it."""
    summed = loss.detach().double() * len(labels)
    errors = (logits.argmax(1) != labels).sum()
    if group.size > 1:
        summed, both = group.sum_(torch.stack([summed, errors.double()])).unbind()
        errors = both.long()
    return summed, errors
