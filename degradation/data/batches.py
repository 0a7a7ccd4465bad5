"""Batches on the device: the whole set as bytes there, cropped and flipped by tensor operations.

No loader, no worker, no random state: what a batch holds is a function of its number (order.py).
Pictures are scaled to [0, 1], the per-pixel mean is subtracted, and the zeros of the padding come
after that, as mean pixels. There is no division by a standard deviation: the paper names none, and
the batch normalisation behind the first convolution cancels any factor.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from degradation.data.order import batch_table, epoch_table
from degradation.data.pictures import Pictures, Split
from degradation.spec import Data


class Stream:
    """The training batches of one seed: pictures (batch, channels, height, width) float32, labels
    (batch,) int64, on `device`.

    What the next iterations see is written to tables on the device (`load`), from which a batch is
    taken by a row number that lies there, too (`take`): nothing waits for the host, and a recorded
    iteration can be replayed.
    """

    def __init__(
        self, pictures: Pictures, data: Data, seed: int, batch: int, device: torch.device
    ) -> None:
        train = pictures.train
        self.data, self.seed, self.batch, self.length = data, seed, batch, len(train)
        self.white, self.device = pictures.white, device
        # (n, height + 2 pad, width + 2 pad, channels) bytes, and a view of every crop of them.
        edges = (0, 0, data.pad, data.pad, data.pad, data.pad)
        padded = functional.pad(torch.from_numpy(train.pictures.copy()).to(device), edges)
        self.crops = _crops(padded, data.pad)
        mean = functional.pad(torch.from_numpy(pictures.mean).to(device), edges)
        self.means = _crops(mean[None], data.pad)[0]
        self.labels = torch.from_numpy(train.labels).to(device)
        self.rows = max(8, 2**15 // batch)
        """Iterations for which the tables have room."""
        self.table = [
            torch.zeros((self.rows, batch), dtype=dtype, device=device)
            for dtype in (torch.int64, torch.int64, torch.int64, torch.bool)
        ]

    def load(self, first: int, count: int) -> None:
        """Write the tables of `count` iterations, at most `rows`, from iteration `first` on."""
        data, size = self.data, self.batch
        table = batch_table(self.seed, first * size, count * size, self.length, data.pad, data.flip)
        for rows, column in zip(self.table, table.columns, strict=True):
            send(column.reshape(count, size), rows[:count])

    def take(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """The batch in row `row` of the tables, an int64 tensor of shape (1,) on the device."""
        index, top, left, flip = (rows.index_select(0, row)[0] for rows in self.table)
        x = self.crops[index, top, left].float() / self.white - self.means[top, left]
        if self.data.flip:
            x = torch.where(flip[:, None, None, None], x.flip(2), x)
        return x.permute(0, 3, 1, 2), self.labels[index]

    def digest(self) -> str:
        """SHA-256 over what fixes the stream beside the pictures: first epoch's table, batch."""
        sha = hashlib.sha256(f"batch {self.batch}".encode())
        table = epoch_table(self.seed, 0, self.length, self.data.pad, self.data.flip)
        for column in table.columns:
            sha.update(column.tobytes())
        return sha.hexdigest()


class Exam:
    """A split as the network is tested on it: every picture once, whole, in order."""

    def __init__(
        self, split: Split, pictures: Pictures, device: torch.device, size: int | None = None
    ) -> None:
        self.pictures = torch.from_numpy(split.pictures.copy()).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.mean, self.white = torch.from_numpy(pictures.mean).to(device), pictures.white
        # Measured: on a CPU 100 pictures at a time are the fastest; a GPU wants many.
        self.size = size or (100 if device.type == "cpu" else 2000)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), self.size):
            rows = slice(start, start + self.size)
            x = self.pictures[rows].float() / self.white - self.mean
            yield x.permute(0, 3, 1, 2), self.labels[rows]


def send(values: NDArray[Any], target: Tensor) -> None:
    """Copy `values` into `target`, without waiting for a GPU."""
    source = torch.from_numpy(np.ascontiguousarray(values))
    # From pinned memory, which its allocator lends to nobody else before the copy is done.
    target.copy_(source.pin_memory() if target.is_cuda else source, non_blocking=True)


def _crops(padded: Tensor, pad: int) -> Tensor:
    """A view of every crop: (n, top, left, height, width, channels)."""
    n, height, width, channels = padded.shape
    side = 2 * pad + 1
    row, column = padded.stride(1), padded.stride(2)
    return padded.as_strided(
        (n, side, side, height - 2 * pad, width - 2 * pad, channels),
        (padded.stride(0), row, column, row, column, padded.stride(3)),
    )
