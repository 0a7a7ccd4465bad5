"""The processes that train one run together, each on its share of every batch.

    torchrun --nproc-per-node 8 -m degradation.run data=imagenet depth=34 model.ghost_batch_size=32

After each step all of them hold the same parameters, bit by bit: gradients are averaged, losses and
errors summed. The gradients are views of one flat buffer whose layout never changes, so averaging
them is one operation. DistributedDataParallel lays its buckets out anew after the first iteration,
and a sum over many processes rounds by layout: with four of them (gloo, torch 2.13) a resumed run
parted from one that was not interrupted.

Each process moves running statistics of its own. What they stand for is their mean (moving them is
linear), which is taken where it is needed: in evaluation, and in a checkpoint.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from degradation.system.process_group import rank_and_world_size

PATIENCE = timedelta(minutes=10)
"""For a process that doesn't answer, and is not known to have died."""
ORPHAN_POLL = 5.0  # seconds


class LostError(RuntimeError):
    """Another process of the run has ended, or can't be reached."""


@dataclass(frozen=True)
class ProcessGroup:
    """Which of the processes this one is, and what they do together. Every method but `is_main`
    must be called by all of them, and raises LostError where one doesn't come."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes to the disk."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Its sum over the processes, in place."""
        if self.size > 1:
            with _lost_if_it_fails():
                distributed.all_reduce(tensor)
        return tensor

    def mean_(self, tensor: Tensor) -> Tensor:
        """Its mean over the processes, in place."""
        return self.sum_(tensor) if self.size == 1 else self.sum_(tensor).div_(self.size)

    def gather(self, tensor: Tensor) -> Tensor:
        """Those of all processes, stacked in the order of ranks."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with _lost_if_it_fails():
            distributed.all_gather(parts, tensor)
        return torch.stack(parts)

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag whether it is set in one of the processes. It does not wait for a GPU."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int64)
        with _lost_if_it_fails():
            distributed.all_reduce(counts, distributed.ReduceOp.MAX)
        return [bool(count) for count in counts.tolist()]

    def broadcast(self, content: bytes | None) -> bytes | None:
        """What rank 0 gives, the others None; raw bytes, never pickled objects, which could run
        code."""
        if self.size == 1:
            return content
        length = torch.tensor(-1 if content is None else len(content))
        with _lost_if_it_fails():
            distributed.broadcast(length, 0)
            if int(length) < 0:
                return None
            message = torch.empty(int(length), dtype=torch.uint8)
            if content is not None:
                message = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            distributed.broadcast(message, 0)
        return message.numpy().tobytes()


ALONE = ProcessGroup()


@dataclass
class FlatBuffers:
    """A network's gradients, and its running statistics, each as views of one flat tensor."""

    gradients: Tensor
    running_stats: Tensor

    @classmethod
    def of(cls, network: nn.Module) -> "FlatBuffers":
        """Let a network's gradients and running statistics be such views from now on."""
        parameters = list(network.parameters())
        gradients = _flat(parameters)
        for parameter, view in zip(parameters, _views(gradients, parameters), strict=True):
            parameter.grad = view
        names = [name for name, b in network.named_buffers() if b.is_floating_point()]
        buffers = [network.get_buffer(name) for name in names]
        running_stats = _flat(buffers)
        for name, buffer, view in zip(names, buffers, _views(running_stats, buffers), strict=True):
            module, _, own_name = name.rpartition(".")
            setattr(network.get_submodule(module), own_name, view.copy_(buffer))
        return cls(gradients, running_stats)

    @contextmanager
    def mean_running_stats(self, group: ProcessGroup) -> Iterator[None]:
        """Give the network the mean of all processes' running statistics for a while."""
        own = self.running_stats.clone()
        group.mean_(self.running_stats)
        try:
            yield
        finally:
            self.running_stats.copy_(own)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    device = tensors[0].device if tensors else None
    return torch.zeros(sum(tensor.numel() for tensor in tensors), device=device)


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """A view of `flat` for each, strides included: the fused optimizers go through a parameter and
    its gradient side by side, as they lie in memory."""
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [p.as_strided(t.shape, t.stride()) for p, t in zip(parts, tensors, strict=True)]


@contextmanager
def _lost_if_it_fails() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # of gloo, NCCL, or the store between them
        raise LostError("another process of this run has ended, or can't be reached") from error


def join(device: torch.device) -> ProcessGroup:
    """Meet the other processes that the environment names; alone where it names none.

    Raises LostError where they don't come.
    """
    rank, size = rank_and_world_size()
    if size == 1:
        return ALONE
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _lost_if_it_fails():
        distributed.init_process_group(backend, timeout=PATIENCE)
    return ProcessGroup(rank, size)


def leave_with_parent() -> None:
    """End this process soon after the one that started it, even where it waits for the others.

    Python handles a signal only between two operations, and one that waits for a dead process may
    take long.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_POLL)
        # Once more, for a process that is about to leave by itself.
        time.sleep(ORPHAN_POLL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
