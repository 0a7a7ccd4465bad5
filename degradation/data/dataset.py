"""A data set in memory, as every source of images hands it over."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; the message is meant for people."""


class Source(Protocol):
    """What a network must know of its data."""

    @property
    def channels(self) -> int: ...
    @property
    def classes(self) -> int: ...
    @property
    def digest(self) -> str:
        """SHA-256 over what is trained and tested on."""


@dataclass(frozen=True)
class Split:
    """Some labelled images."""

    images: NDArray[np.uint8]
    """(n, height, width, channels)."""
    labels: NDArray[np.int64]
    """(n,), from 0."""

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, start: int, stop: int) -> "Split":
        return Split(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class ImageDataset:
    """A data set: what is trained on, what is held out of that, if anything, and what tests."""

    train: Split
    held_out: Split
    test: Split
    classes: int
    white: int
    """The pixel value of full brightness."""

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[-1])

    @property
    def mean(self) -> NDArray[np.float32]:
        """The per-pixel mean of the training images, (height, width, channels), white = 1."""
        mean: NDArray[np.float64] = self.train.images.mean(axis=0, dtype=np.float64) / self.white
        return mean.astype(np.float32)

    @property
    def digest(self) -> str:
        """SHA-256 over the images and labels of all three splits."""
        sha = hashlib.sha256()
        for split in (self.train, self.held_out, self.test):
            sha.update(str(split.images.shape).encode())
            sha.update(split.images.tobytes())
            sha.update(split.labels.tobytes())
        return sha.hexdigest()


def split_off(everything: Split, held_out: int) -> tuple[Split, Split]:
    """Training and held-out images: the last `held_out` are kept away from training.

    The same ones for every seed and arm. Raises DataError where nothing would be left.
    """
    n = len(everything)
    if held_out >= n:
        raise DataError(f"data.val_size={held_out}: must be below {n}, the training images")
    return everything.rows(0, n - held_out), everything.rows(n - held_out, n)
