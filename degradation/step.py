"""One training step, and the meters that it feeds: nothing here waits for the device.

Errors and losses gather in tensors on the device and are read when a row is due. So is the first
iteration with a loss that is no number: a network that diverges is a result, with its iteration.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

FINE = -1  # `diverged` of meters that have seen no loss that isn't a number


@dataclass
class Meters:
    """Sums over the minibatches since the last reset; 0-dimensional tensors on the device."""

    loss: Tensor
    errors: Tensor
    seen: Tensor
    diverged: Tensor
    """The first iteration whose loss was not finite, or FINE."""

    @classmethod
    def new(cls, device: torch.device) -> Self:
        def zero(dtype: torch.dtype) -> Tensor:
            return torch.zeros((), dtype=dtype, device=device)

        whole = torch.int64
        return cls(zero(torch.float64), zero(whole), zero(whole), zero(whole) + FINE)

    def add(self, iteration: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one minibatch: its mean loss, its logits, and the number of its iteration."""
        loss = loss.detach()
        self.loss += loss.double() * len(labels)
        self.errors += (logits.argmax(1) != labels).sum()
        self.seen += len(labels)
        first = (self.diverged == FINE) & ~loss.isfinite()
        self.diverged.copy_(torch.where(first, iteration, self.diverged))

    def reset(self) -> None:
        for tensor in (self.loss, self.errors, self.seen):
            tensor.zero_()

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        return {f"{prefix}.{f.name}": getattr(self, f.name) for f in fields(self)}

    @property
    def mean_loss(self) -> float:
        return float(self.loss) / int(self.seen)

    @property
    def error(self) -> float:
        """In percent."""
        return 100 * int(self.errors) / int(self.seen)


def forward(network: nn.Module, x: Tensor, precision: str) -> Tensor:
    """Logits in float32, whatever the precision inside."""
    if precision == "fp32":
        logits: Tensor = network(x)
        return logits
    with torch.autocast(x.device.type, torch.bfloat16):
        logits = network(x)
    return logits.float()


def training_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, precision: str
) -> tuple[Tensor, Tensor]:
    """Move the parameters by one minibatch; its mean loss and its logits, before the move."""
    logits = forward(network, x, precision)
    loss = functional.cross_entropy(logits, labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss, logits


@torch.no_grad()
def examine(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str) -> Tensor:
    """Sum of the losses and number of errors in eval mode: float64, shape (2,), on the device."""
    sums = None
    network.eval()
    try:
        for x, labels in batches:
            logits = forward(network, x, precision)
            loss = functional.cross_entropy(logits, labels, reduction="sum").double()
            found = torch.stack([loss, (logits.argmax(1) != labels).sum().double()])
            sums = found if sums is None else sums + found
    finally:
        network.train()
    assert sums is not None
    return sums
