"""A data set in memory: labelled images in three splits, with their mean and digest."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; the message is meant for people."""


@dataclass(frozen=True)
class Split:
    """Some labelled images."""

    images: NDArray[np.uint8]
    """(n, height, width, channels)."""
    labels: NDArray[np.int64]
    """(n,), from 0."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, stop: int) -> "Split":
        """The images start to stop - 1."""
        return Split(self.images[start:stop], self.labels[start:stop])


@dataclass(frozen=True)
class ImageDataset:
    """Images of one size that fit into memory; `validation` may be empty."""

    train: Split
    validation: Split
    test: Split
    classes: int
    max_value: int
    """The pixel value of full brightness."""

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[-1])

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """The per-pixel mean of the training images, (height, width, channels), 0 to 1."""
        mean: NDArray[np.float64] = self.train.images.mean(axis=0, dtype=np.float64)
        return (mean / self.max_value).astype(np.float32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the images and labels of all three splits."""
        sha = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            sha.update(str(split.images.shape).encode())
            sha.update(split.images.tobytes())
            sha.update(split.labels.tobytes())
        return sha.hexdigest()


def split_validation(everything: Split, val_size: int) -> tuple[Split, Split]:
    """Training and validation images: the last `val_size` are kept away from training.

    They are the same ones for every seed and arm. Raises DataError where no training image is left.
    """
    n = len(everything)
    if val_size >= n:
        raise DataError(f"data.val_size={val_size}: must be below {n}, the training images")
    return everything.part(0, n - val_size), everything.part(n - val_size, n)
