"""Which pictures training sees, cropped and flipped how: a pure function of (seed, position).

Training reads an endless concatenation of epochs, each a permutation of the training set, so every
batch is full. Position p of that stream is picture `index[p % n]` of epoch `p // n`. The numbers
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
    """Picture of the training set."""
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    """Corner of the crop in the padded picture, 0 to 2·pad."""
    flip: NDArray[np.bool_]
    """Mirrored, left to right."""

    def rows(self, start: int, stop: int) -> "Table":
        return Table(*(column[start:stop] for column in self.columns))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.index, self.top, self.left, self.flip


@lru_cache(maxsize=2)  # a batch may lie across two epochs
def epoch_table(seed: int, epoch: int, pictures: int, pad: int, flip: bool) -> Table:
    """The table of one epoch over `pictures` training pictures."""
    key = hashlib.sha256(f"order {seed} {epoch}".encode()).digest()[:16]
    raw = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(4 * pictures)
    order, top, left, mirror = raw.reshape(4, pictures)
    return Table(
        index=np.argsort(order, kind="stable"),
        top=_below(2 * pad + 1, top),
        left=_below(2 * pad + 1, left),
        flip=(mirror >> np.uint64(63)).astype(bool) & flip,
    )


def batch_table(seed: int, start: int, size: int, pictures: int, pad: int, flip: bool) -> Table:
    """The table of the positions start to start + size - 1 of the stream."""
    parts = []
    while size:
        epoch, offset = divmod(start, pictures)
        part = epoch_table(seed, epoch, pictures, pad, flip).rows(offset, offset + size)
        parts.append(part)
        start, size = start + len(part.index), size - len(part.index)
    return Table(*(np.concatenate(c) for c in zip(*(p.columns for p in parts), strict=True)))


def _below(bound: int, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
    """0 to bound-1 from 64 random bits each; the bias is under bound / 2³²."""
    return ((raw >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
