"""Which images training sees, cropped and flipped how: a pure function of (seed, position).

Training reads an endless concatenation of epochs, each a permutation of the training set, so every
batch is full. Position p of that stream is image `index[p % n]` of epoch `p // n`. The numbers
come from Philox, whose raw output is fixed by its definition (Salmon et al. 2011), through integer
arithmetic alone: equal on every machine and device, for every depth and arm, and nothing to save.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """What happens at each position of one epoch, or of one batch: arrays of shape (positions,)."""

    index: NDArray[np.int64]
    """Image of the training set."""
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    """First line and column of the crop in the padded image, 0 to 2·pad."""
    flip: NDArray[np.bool_]
    """Mirrored, left to right."""

    def part(self, start: int, stop: int) -> "Table":
        """The positions start to stop - 1."""
        return Table(*(column[start:stop] for column in self.columns))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.index, self.top, self.left, self.flip


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def epoch_table(seed: int, epoch: int, images: int, pad: int, flip: bool) -> Table:
    """The table of one epoch over `images` training images."""
    key = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()[:16]
    raw = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(4 * images)
    order, top, left, mirror = raw.reshape(4, images)
    return Table(
        index=np.argsort(order, kind="stable"),
        top=_below(2 * pad + 1, top),
        left=_below(2 * pad + 1, left),
        flip=(mirror >> np.uint64(63)).astype(bool) & flip,
    )


def batch_table(seed: int, start: int, size: int, images: int, pad: int, flip: bool) -> Table:
    """The table of the positions start to start + size - 1 of the stream."""
    parts = []
    while size:
        epoch, offset = divmod(start, images)
        part = epoch_table(seed, epoch, images, pad, flip).part(offset, offset + size)
        parts.append(part)
        start, size = start + len(part.index), size - len(part.index)
    return Table(*(np.concatenate(c) for c in zip(*(p.columns for p in parts), strict=True)))


@dataclass(frozen=True)
class Draws:
    """What chance does to images of many sizes, beside order and flip: arrays by position.

    Where the crop lies is drawn as a fraction of what the resized image leaves free, and its scale
    as a fraction of a range, so nothing of the image needs to be known.
    """

    side: NDArray[np.uint64]
    top: NDArray[np.uint64]
    left: NDArray[np.uint64]
    """64 random bits each; `below` makes whole numbers of them."""
    lighting: NDArray[np.float64]
    """(positions, 3), of mean 0 and standard deviation 1."""


BLOCKS = 3  # of four 64-bit numbers, a position


def draws(seed: int, start: int, size: int) -> Draws:
    """The draws of the positions start to start + size - 1 of the stream.

    They are counter-based, so any position is reached at once. A normal number is the sum of twelve
    16-bit ones (Irwin-Hall): functions of the mathematical library differ between machines in the
    last bit.
    """
    key = hashlib.sha256(f"draws {seed}".encode()).digest()[:16]
    philox = np.random.Philox(key=int.from_bytes(key, "little"), counter=BLOCKS * start)
    raw = philox.random_raw(4 * BLOCKS * size).reshape(size, 4 * BLOCKS)
    shifts = np.arange(0, 64, 16, dtype=np.uint64)
    pieces = (raw[:, 3:, None] >> shifts) & np.uint64(0xFFFF)
    sums = pieces.reshape(size, 3, 12).sum(axis=2).astype(np.int64)
    normal = (sums - 12 * 0xFFFF // 2) / 2.0**16
    return Draws(raw[:, 0], raw[:, 1], raw[:, 2], normal)


def digest(batch_size: int, *columns: NDArray[Any]) -> str:
    """SHA-256 over what fixes a stream of batches beside the images."""
    sha = hashlib.sha256(f"batch {batch_size}".encode())
    for column in columns:
        sha.update(column.tobytes())
    return sha.hexdigest()


def below(bound: int, raw: int) -> int:
    """0 to bound - 1 from 64 random bits, as `_below` makes them."""
    return (int(raw) >> 32) * bound >> 32


def _below(bound: int, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    """0 to bound-1 from 64 random bits each; the bias is under bound / 2³²."""
    return ((raw >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
