"""The processes that train one run together, each on its share of every batch.

    torchrun --nproc-per-node 8 -m degradation.run data=imagenet depth=34 model.ghost_batch_size=32

After each step all of them hold the same state, bit by bit: gradients and running averages are
averaged, losses and errors summed. So any of them could write it down; rank 0 does. The gradients
go as one flat tensor whose layout never changes. DistributedDataParallel lays its buckets out anew
after the first iteration, and a sum over many processes rounds by layout: with four of them (gloo,
torch 2.13) a resumed run parted from one that was not interrupted.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from degradation.system.process_group import rank_and_world_size

PATIENCE = timedelta(minutes=10)  # for a process that says nothing, and is not known to have died
ORPHAN_LOOK = 5.0


class Lost(RuntimeError):
    """Another process of the run has ended, or can't be reached."""


@dataclass(frozen=True)
class Ranks:
    """Which of them this process is, and what they do together. Every method that talks to the
    others raises Lost; all of them must call it."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this is the one that writes to the disk."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their means over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with _together():
            distributed.all_reduce(flat)
        flat /= self.size
        with torch.no_grad():
            means = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def total(self, tensor: Tensor) -> Tensor:
        """Its sum over the processes, in place."""
        if self.size > 1:
            with _together():
                distributed.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether one of them says so. It waits for all, not for a GPU."""
        if self.size == 1:
            return flag
        said = torch.tensor(int(flag))
        with _together():
            distributed.all_reduce(said, distributed.ReduceOp.MAX)
        return bool(said)

    def told(self, content: bytes | None) -> bytes | None:
        """What rank 0 gives here, given to all; bytes, as a pickle could run code."""
        if self.size == 1:
            return content
        length = torch.tensor(-1 if content is None or not self.writes else len(content))
        with _together():
            distributed.broadcast(length, 0)
        if int(length) < 0:
            return None
        if self.writes and content is not None:
            message = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        else:
            message = torch.empty(int(length), dtype=torch.uint8)
        with _together():
            distributed.broadcast(message, 0)
        return message.numpy().tobytes()


ALONE = Ranks()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # of gloo, NCCL, or the store between them
        raise Lost("another process of this run has ended, or can't be reached") from error


def join(device: torch.device) -> Ranks:
    """Meet the others that the environment tells of; alone where it tells of none.

    Raises Lost where they don't come.
    """
    rank, size = rank_and_world_size()
    if size == 1:
        return ALONE
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _together():
        distributed.init_process_group(backend, timeout=PATIENCE)
    return Ranks(rank, size)


def leave_with_parent() -> None:
    """End this process soon after the one that started it, even where it waits for the others.

    A signal is only heard between two operations, and one that waits for a dead process is long.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_LOOK)
        time.sleep(ORPHAN_LOOK)  # for one that is about to leave by itself
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()
