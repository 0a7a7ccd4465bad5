"""All that training changes, as tensors that stay where they are, and as a checkpoint's bytes."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from degradation.config.schema import RunConfig
from degradation.data.device_loader import memory_format
from degradation.data.sources import Source
from degradation.models.init import build
from degradation.models.resnet import Network
from degradation.training import checkpoint
from degradation.training import optimizer as optim
from degradation.training.devices.distributed import ALONE, FlatBuffers, ProcessGroup
from degradation.training.metrics import NOT_DIVERGED, MetricAccumulator
from degradation.training.schedule import Plateau, warms_up

BY_RANK = "running_stats_by_rank"
"""The running statistics of each process of several; those of the network are their means."""


@dataclass
class State:
    """All that training changes; runs whose states are equal go on equally."""

    network: Network
    optimizer: optim.Optimizer
    row: MetricAccumulator
    """Since the last row."""
    window: MetricAccumulator | None
    """Since the last check of the warm-up's condition; None in a run without a warm-up."""
    gradient_norm: Tensor
    """Of the last minibatch before the newest row, over all parameters; float32, 0-dimensional."""
    group: ProcessGroup = ALONE
    """The processes that have a share of each batch."""
    flat: FlatBuffers | None = None
    """Where several processes train: their gradients and running statistics."""
    iteration: int = 0
    warmup_end: int | None = None
    """The first iteration after the warm-up: 0 without one, None while it lasts."""
    rows: int = 0
    plateau: Plateau = field(default_factory=Plateau)

    @property
    def diverged_at(self) -> int | None:
        """The first iteration whose loss was no number; waits for the device."""
        first = int(self.row.first_nonfinite)
        if first == NOT_DIVERGED:
            return None
        return self.iteration - int(self.row.batches) + first

    @property
    def finite(self) -> bool:
        """Whether all parameters are numbers; one iteration later the loss would tell.

        By their sums, at a third of a norm's cost. Values above 1e31 may overflow the sum and are
        reported as non-finite.
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
        window = {} if self.window is None else self.window.tensors("window")
        return {
            **{f"network.{name}": t for name, t in self.network.state_dict().items()},
            **optim.moments(self.network, self.optimizer),
            **self.row.tensors("row"),
            **window,
            "gradient_norm": self.gradient_norm,
            "learning_rate": optim.learning_rate_tensor(self.optimizer),
        }

    def to_bytes(self, config: RunConfig, fingerprint: dict[str, Any]) -> bytes | None:
        """A checkpoint, in the main process; all processes of a run must call it."""
        meta = {
            "run": config.name,
            "fingerprint": fingerprint,
            "iteration": self.iteration,
            "warmup_end": self.warmup_end,
            "rows": self.rows,
            "plateau": asdict(self.plateau),
        }
        if self.flat is None:
            return checkpoint.encode(self.tensors(), meta)
        by_rank = self.group.gather(self.flat.running_stats)
        with self.flat.mean_running_stats(self.group):
            tensors = {**self.tensors(), BY_RANK: by_rank}
            return checkpoint.encode(tensors, meta) if self.group.is_main else None

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Become what `to_bytes` was. Raises CheckpointError where names or shapes differ."""
        by_rank = tensors.pop(BY_RANK, None)
        own = self.tensors()
        for name in sorted({*own, *tensors}):
            ours, theirs = (_form(t[name]) if name in t else "none" for t in (own, tensors))
            if ours != theirs:
                raise checkpoint.CheckpointError(f"{name} is {theirs} in it, {ours} here")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        if by_rank is not None and self.flat is not None and len(by_rank) == self.group.size:
            self.flat.running_stats.copy_(by_rank[self.group.rank])
        self.iteration, self.rows = meta["iteration"], meta["rows"]
        self.warmup_end = meta["warmup_end"]
        self.plateau = Plateau(**meta["plateau"])


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.")


def initial_network(config: RunConfig, source: Source, device: torch.device) -> Network:
    """A run's network with its initial tensors."""
    seed, init = config.seed, config.recipe.init
    network = build(config.model, config.depth, source.channels, source.classes, seed, init)
    layout = memory_format(config.numerics)
    network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return network


def fresh(
    config: RunConfig, source: Source, device: torch.device, group: ProcessGroup = ALONE
) -> State:
    """The state before the first iteration."""
    recipe, network = config.recipe, initial_network(config, source, device)
    with_warmup = warms_up(recipe, config.depth)
    return State(
        network,
        optim.build(network, recipe),
        MetricAccumulator.new(recipe.batch_size, device),
        MetricAccumulator.new(recipe.batch_size, device) if with_warmup else None,
        torch.zeros((), device=device),
        group,
        FlatBuffers.of(network) if group.size > 1 else None,
        warmup_end=None if with_warmup else 0,
    )
