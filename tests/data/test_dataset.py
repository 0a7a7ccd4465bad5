"""The built-in digits, and what every data set in memory offers: mean, digest, validation."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from degradation.config.schema import Data
from degradation.data import sources
from degradation.data.dataset import DataError, ImageDataset, Split, split_validation


def digits(val_size: int = 0) -> ImageDataset:
    return sources.load(Data("digits", val_size, 1, False, "no folder", False))


def made(n: int, start: int = 0) -> Split:
    """Images of 2×3 pixels and one channel that count up, labelled 0, 1, 2, …"""
    images = np.arange(start, start + 6 * n, dtype=np.uint8).reshape(n, 2, 3, 1)
    return Split(images, np.arange(n, dtype=np.int64))


def dataset(train: Split, validation: Split, test: Split) -> ImageDataset:
    return ImageDataset(train, validation, test, classes=10, max_value=100)


def test_every_fifth_digit_is_for_testing_and_no_other() -> None:
    bunch, found = load_digits(), digits()
    assert (found.classes, found.max_value) == (10, 16)
    others = [i for i in range(1797) if i % 5 != 4]
    for split, places in ((found.test, range(4, 1797, 5)), (found.train, others)):
        assert split.images.shape == (len(places), 8, 8, 1) and split.images.dtype == np.uint8
        assert np.array_equal(split.images[..., 0], bunch.images[places])
        assert np.array_equal(split.labels, bunch.target[places])


def test_pinned_digest_of_the_digits() -> None:
    # A change means that scikit-learn ships other digits, or that they are split otherwise.
    assert digits().digest == "2e8250bc076378c1cff2f75d0a6ec05136e79ceea844c8e8e9eebfe73c9ac283"


@pytest.mark.parametrize("val_size", [1438, 5000])
def test_no_training_image_left_is_refused(val_size: int) -> None:
    wanted = rf"^data\.val_size={val_size}: must be below 1438, the training images$"
    with pytest.raises(DataError, match=wanted):
        digits(val_size)


def test_mean_is_of_the_training_images_alone_pixel_by_pixel() -> None:
    found = dataset(made(2), made(3, 50), made(4, 100))
    wanted = np.array([[3, 4, 5], [6, 7, 8]])[..., None] / 100
    assert found.mean.dtype == np.float32
    np.testing.assert_array_equal(found.mean, wanted.astype(np.float32))


def with_one_more(column: NDArray[Any]) -> NDArray[Any]:
    changed = column.copy()
    changed.flat[-1] += 1
    return changed


def test_digest_covers_every_pixel_label_and_boundary() -> None:
    splits = [made(3), made(2, 50), made(2, 100)]
    found = [dataset(*splits)]
    for i, split in enumerate(splits):
        pixel = Split(with_one_more(split.images), split.labels)
        label = Split(split.images, with_one_more(split.labels))
        found += [dataset(*splits[:i], changed, *splits[i + 1 :]) for changed in (pixel, label)]
    found.append(dataset(made(3), *split_validation(made(2, 50), 1)))
    found.append(dataset(*split_validation(made(5), 2), made(2, 100)))
    assert len({one.digest for one in found}) == len(found)
