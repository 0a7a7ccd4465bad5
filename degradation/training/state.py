"""All that training changes, as tensors that stay where they are, and as a checkpoint's bytes."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from degradation.config.schema import RunConfig
from degradation.data.dataset import Source
from degradation.models import resnet
from degradation.models.resnet import Network
from degradation.system.console import short_repr
from degradation.training import checkpoint
from degradation.training import optimizer as optim
from degradation.training.step import FINE, Meters


@dataclass
class State:
    """All that training changes; what is equal here goes on equally."""

    network: Network
    optimizer: optim.Optimizer
    row: Meters
    """Since the last row."""
    window: Meters
    """Since the last look at the warm-up's condition."""
    gradient_norm: Tensor
    """Of the last minibatch before the newest row, over all parameters; float32, 0-dimensional."""
    iteration: int = 0
    warmup_end: int | None = None
    rows: int = 0
    plateau: optim.Plateau = field(default_factory=optim.Plateau)

    @property
    def diverged_at(self) -> int | None:
        """The first iteration whose loss was no number; waits for the device."""
        first = int(self.row.diverged)
        return None if first == FINE else first

    @property
    def finite(self) -> bool:
        """Whether all parameters are numbers; one iteration later the loss would tell.

        By their sums, at a third of a norm's cost. Numbers beyond 1e31, whose sum might be
        none, count as none.
        """
        sums = [parameter.detach().sum() for parameter in self.network.parameters()]
        return bool(torch.stack(sums).isfinite().all())

    @property
    def size(self) -> int:
        """Bytes of a checkpoint, nearly."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, as it is saved: the network's own names, then the others'."""
        for name, tensor in self._named.items():
            if name.endswith("num_batches_tracked"):  # see layers.BatchNorm
                tensor.fill_(self.iteration)
        return self._named

    @cached_property
    def _named(self) -> dict[str, Tensor]:
        """Gathered once: 10,822 of them, in 80 ms, at 1,202 layers."""
        return {
            **{f"network.{name}": t for name, t in self.network.state_dict().items()},
            **optim.moments(self.network, self.optimizer),
            **self.row.tensors("row"),
            **self.window.tensors("window"),
            "gradient_norm": self.gradient_norm,
        }

    @cached_property
    def _encoder(self) -> checkpoint.Encoder:
        return checkpoint.Encoder(self._named)

    def to_bytes(self, config: RunConfig, fingerprint: dict[str, Any]) -> memoryview:
        """A checkpoint; the next one takes its memory."""
        meta = {
            "run": config.name,
            "fingerprint": fingerprint,
            "iteration": self.iteration,
            "warmup_end": self.warmup_end,
            "rows": self.rows,
        }
        if config.recipe.plateau_patience is not None:
            meta["plateau"] = self.plateau.plain()
        self.tensors()  # fills in the iteration
        return self._encoder(meta)

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Become what `to_bytes` was. Raises checkpoint.CheckpointError where names or shapes differ."""
        own = self.tensors()
        for name in sorted({*own, *tensors}):
            mine, theirs = (_form(t[name]) if name in t else "none" for t in (own, tensors))
            if mine != theirs:
                raise checkpoint.CheckpointError(
                    f"{short_repr(name)} is {theirs} in the checkpoint, {mine} here"
                )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.iteration, self.rows = meta["iteration"], meta["rows"]
        self.warmup_end = meta["warmup_end"]
        self.plateau = optim.Plateau(**meta.get("plateau", {}))


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.")


def fresh(config: RunConfig, source: Source, device: torch.device) -> State:
    """The state before the first iteration."""
    net = resnet.build(
        config.model, config.depth, source.channels, source.classes, config.seed, config.recipe.init
    )
    channels_last = config.numerics.memory_format == "channels_last"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    warmup_end = None if optim.warms_up(config.recipe, config.depth) else 0
    return State(
        net, optim.build(net, config.recipe), Meters.new(device), Meters.new(device),
        torch.zeros((), device=device), warmup_end=warmup_end,
    )  # fmt: skip
