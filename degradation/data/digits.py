"""`data=digits`: 1,797 real handwritten digits of 8×8 pixels, built in; no download, no account.

They come with scikit-learn: the test set of "Optical Recognition of Handwritten Digits" (Alpaydin &
Kaynak, UCI repository, 1998, CC BY 4.0), grey values 0 to 16. Every fifth picture is for testing.
"""

import numpy as np
from sklearn.datasets import load_digits

from degradation.data.pictures import Pictures, Split, split_off
from degradation.spec import Data

WHITE = 16
CLASSES = 10
EVERY = 5  # 1,438 to train on, 359 to test


def load(data: Data) -> Pictures:
    """The set; raises DataError for a `held_out` that leaves nothing."""
    bunch = load_digits()
    pictures = bunch.images.astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % EVERY == EVERY - 1
    train, held_out = split_off(Split(pictures[~test], labels[~test]), data.held_out)
    return Pictures(train, held_out, Split(pictures[test], labels[test]), CLASSES, WHITE)
