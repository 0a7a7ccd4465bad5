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

from degradation.models.layers import BatchNorm
from degradation.training.devices.distributed import ALONE, Ranks
from degradation.training.optimizer import Optimizer

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

    def add(self, iteration: Tensor, count: "Count") -> None:
        """Count one minibatch, that of iteration number `iteration`."""
        self.loss += count.loss
        self.errors += count.errors
        self.seen += count.seen
        first = (self.diverged == FINE) & ~count.loss.isfinite()
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


@dataclass
class Count:
    """What one minibatch adds to the meters, over all processes that have a share of it."""

    loss: Tensor
    """Sum over its images, float64."""
    errors: Tensor
    seen: int

    @classmethod
    def of(cls, loss: Tensor, logits: Tensor, labels: Tensor, ranks: Ranks = ALONE) -> Self:
        """From the mean loss and the logits of this process's share."""
        summed = loss.detach().double() * len(labels)
        errors = (logits.argmax(1) != labels).sum()
        if ranks.size > 1:
            summed, both = ranks.total(torch.stack([summed, errors.double()])).unbind()
            errors = both.long()
        return cls(summed, errors, len(labels) * ranks.size)


def forward(network: nn.Module, x: Tensor, precision: str) -> Tensor:
    """Logits in float32, whatever the precision inside."""
    if precision == "fp32":
        logits: Tensor = network(x)
        return logits
    with torch.autocast(x.device.type, torch.bfloat16):
        logits = network(x)
    return logits.float()


def training_step(
    network: nn.Module,
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
    precision: str,
    ranks: Ranks = ALONE,
    parts: int = 1,
) -> tuple[Tensor, Tensor]:
    """Move the parameters by one minibatch; the mean loss and the logits, before the move, of this
    process's share of it. `parts`: how many it is gone through in, one after the other."""
    optimizer.zero_grad(set_to_none=True)
    if parts == 1:
        logits = forward(network, x, precision)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
    else:
        loss, logits = in_parts(network, x, labels, precision, parts)
    if ranks.size > 1:
        ranks.average([*gradients(network), *running_averages(network)])
    optimizer.step()
    return loss, logits


def in_parts(
    network: nn.Module, x: Tensor, labels: Tensor, precision: str, parts: int
) -> tuple[Tensor, Tensor]:
    """Gather a minibatch's gradients part by part; its mean loss and its logits.

    Each part keeps its own activations alone. Batch normalisation must look at no more than a part
    at a time (world_size.check), and its averages move as if the batch had come whole.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    losses, found = [], []
    batches = zip(x.chunk(parts), labels.chunk(parts), strict=True)
    for part, (images, answers) in enumerate(batches):
        for norm in norms:
            norm.part, norm.of = part, parts
        logits = forward(network, images, precision)
        loss = functional.cross_entropy(logits, answers) / parts
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        found.append(logits.detach())
    for norm in norms:
        norm.part, norm.of = 0, 1
    return torch.stack(losses).sum(), torch.cat(found)


def gradients(network: nn.Module) -> list[Tensor]:
    """Of the last minibatch, in the parameters' order."""
    return [p.grad for p in network.parameters() if p.grad is not None]


def running_averages(network: nn.Module) -> list[Tensor]:
    """Those of batch normalisation, all float32."""
    return [b for b in network.buffers() if b.is_floating_point()]


@torch.no_grad()
def examine(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: str) -> Tensor:
    """Sum of the losses and number of errors in eval mode: float64, shape (2,), on the device."""
    sums = torch.zeros(2, dtype=torch.float64, device=next(network.parameters()).device)
    network.eval()
    try:
        for x, labels in batches:
            logits = forward(network, x, precision)
            loss = functional.cross_entropy(logits, labels, reduction="sum").double()
            sums += torch.stack([loss, (logits.argmax(1) != labels).sum().double()])
    finally:
        network.train()
    return sums
