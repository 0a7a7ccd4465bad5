"""Batches on the device: the whole set as bytes there, cropped and flipped by tensor operations.

No loader, no worker, no random state: what a batch holds is a function of its number (order.py).
Images are scaled to [0, 1], the per-pixel mean is subtracted, and the zeros of the padding come
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

from degradation.config.schema import Data
from degradation.data.dataset import ImageDataset, Split
from degradation.data.order import batch_table, epoch_table


class Stream:
    """The training batches of one seed: images (batch, channels, height, width) float32, labels
    (batch,) int64, on `device`; of several processes, each has its share of every batch.

    What the next iterations see is written to tables on the device (`load`), from which a batch is
    taken by a row number that lies there, too (`take`): nothing waits for the host, and a recorded
    iteration can be replayed.
    """

    def __init__(
        self,
        images: ImageDataset,
        data: Data,
        seed: int,
        batch: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        train = images.train
        self.data, self.seed, self.length, self.rank = data, seed, len(train), rank
        self.whole, self.size = batch, batch // world_size
        """Images in a batch, and in this process's share."""
        self.white, self.device = images.white, device
        self.shape = train.images.shape[1:]
        # (n, height + 2 pad, width + 2 pad, channels) bytes, and all of them once more, mirrored;
        # and, beginning at each of their pixels, a row of a crop. A crop is `height` such rows,
        # copied whole: 0.4 µs a image; mirrored batch by batch it would be 2.4.
        edges = (0, 0, data.pad, data.pad, data.pad, data.pad)
        shown = torch.from_numpy(train.images.copy()).to(device)
        shown = torch.cat([shown, shown.flip(2)]) if data.flip else shown
        padded = functional.pad(shown, edges)
        height, width, channels = self.shape
        pixels = padded.numel() // channels
        self.crop_rows = padded.as_strided((pixels - width + 1, width * channels), (channels, 1))
        self.below = padded.shape[2] * torch.arange(height, device=device)
        # The mean of each crop, then of each mirrored one.
        mean = functional.pad(torch.from_numpy(images.mean).to(device), edges)
        crops = _crops(mean, data.pad)
        self.means = torch.cat([crops, crops.flip(2)] if data.flip else [crops])
        self.labels = torch.from_numpy(train.labels).to(device)
        self.rows = max(8, 2**15 // batch)
        """Iterations for which the tables have room."""
        self.index, self.corner, self.mean = (
            torch.zeros((self.rows, self.size), dtype=torch.int64, device=device) for _ in range(3)
        )

    def load(self, first: int, count: int) -> None:
        """Write the tables of `count` iterations, at most `rows`, from iteration `first` on."""
        data, size, whole = self.data, self.size, self.whole
        start = first * whole
        table = batch_table(self.seed, start, count * whole, self.length, data.pad, data.flip)
        height, width, _ = self.shape
        across, crops = 2 * data.pad + 1, (2 * data.pad + 1) ** 2
        wide, pixels = width + 2 * data.pad, (height + 2 * data.pad) * (width + 2 * data.pad)
        own = slice(self.rank * size, (self.rank + 1) * size)
        image = table.index + self.length * table.flip
        left = np.where(table.flip, 2 * data.pad - table.left, table.left)  # as a mirror has it
        for column, rows in (
            (table.index, self.index),
            (image * pixels + table.top * wide + left, self.corner),
            (table.top * across + table.left + crops * table.flip, self.mean),
        ):
            send(column.reshape(count, whole)[:, own], rows[:count])

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """One iteration's batch. It takes the tables' first row: that of an iteration long done,
        except in the middle of one."""
        self.load(iteration, 1)
        return self.take(torch.zeros(1, dtype=torch.int64, device=self.device))

    def take(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """The batch in row `row` of the tables, an int64 tensor of shape (1,) on the device."""
        index, corner, mean = (
            rows.index_select(0, row)[0] for rows in (self.index, self.corner, self.mean)
        )
        where = (corner[:, None] + self.below).flatten()
        x = self.crop_rows.index_select(0, where).view(self.size, *self.shape)
        x = x.float().div_(self.white).sub_(self.means.index_select(0, mean))
        return x.permute(0, 3, 1, 2), self.labels.index_select(0, index)

    def close(self) -> None:
        """Nothing to end: all of it lies on the device."""

    def digest(self) -> str:
        """SHA-256 over what fixes the stream beside the images: first epoch's table, batch."""
        sha = hashlib.sha256(f"batch {self.whole}".encode())
        table = epoch_table(self.seed, 0, self.length, self.data.pad, self.data.flip)
        for column in table.columns:
            sha.update(column.tobytes())
        return sha.hexdigest()


class Exam:
    """A split as the network is tested on it: every image once, whole, in order; of several
    processes, each has every so many batches."""

    resident = True

    def __init__(
        self,
        split: Split,
        images: ImageDataset,
        device: torch.device,
        size: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.images = torch.from_numpy(split.images.copy()).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.mean, self.white = torch.from_numpy(images.mean).to(device), images.white
        # Measured: on a CPU 100 images at a time are the fastest; a GPU wants many.
        self.size = size or (100 if device.type == "cpu" else 2000)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rank, ranks = self.rank, self.world_size
        for start in range(rank * self.size, len(self), ranks * self.size):
            rows = slice(start, start + self.size)
            x = self.images[rows].float() / self.white - self.mean
            yield x.permute(0, 3, 1, 2), self.labels[rows]


def send(values: NDArray[Any], target: Tensor) -> None:
    """Copy `values` into `target`, without waiting for a GPU."""
    source = torch.from_numpy(np.ascontiguousarray(values))
    # From pinned memory, which its allocator lends to nobody else before the copy is done.
    target.copy_(source.pin_memory() if target.is_cuda else source, non_blocking=True)


def _crops(padded: Tensor, pad: int) -> Tensor:
    """Every crop of one padded image, by rows of corners: (crops, height, width, channels)."""
    height, width, channels = padded.shape
    side = 2 * pad + 1
    row, column = padded.stride(0), padded.stride(1)
    shape = (side, side, height - 2 * pad, width - 2 * pad, channels)
    return padded.as_strided(shape, (row, column, row, column, 1)).flatten(0, 1)
