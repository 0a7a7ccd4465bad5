"""`data=digits`: 1,797 real handwritten digits of 8×8 pixels, built in; no download, no account.

They come with scikit-learn: the test set of "Optical Recognition of Handwritten Digits" (Alpaydin &
Kaynak, UCI repository, 1998, CC BY 4.0), grey values 0 to 16.
"""

import importlib.util
from pathlib import Path

import numpy as np

from degradation.config.schema import Data
from degradation.data.dataset import ImageDataset, Split, split_validation

MAX_VALUE, CLASSES, SIDE = 16, 10, 8
TEST_EVERY = 5
"""Every fifth image is for testing: 1,438 to train on, 359 to test."""


def load(data: Data) -> ImageDataset:
    """The set; raises DataError for a `data.val_size` that leaves nothing."""
    # From scikit-learn's file, without importing scikit-learn: that takes over a second, a third of
    # a run's whole start.
    found = importlib.util.find_spec("sklearn")
    assert found is not None and found.origin is not None
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)  # 64 pixels and the label a line
    images = table[:, :-1].reshape(-1, SIDE, SIDE, 1)
    labels = table[:, -1].astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    train, validation = split_validation(Split(images[~test], labels[~test]), data.val_size)
    return ImageDataset(train, validation, Split(images[test], labels[test]), CLASSES, MAX_VALUE)
