"""The built-in digits, and what every data set offers: mean, digest, images held out."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from degradation.config import schema
from degradation.data import sources
from degradation.data.dataset import (
    DataError,
    ImageDataset,
    Split,
    split_off,
)


def digits(held_out: int = 0) -> ImageDataset:
    return sources.load(schema.Data("digits", held_out, 1, False, "no folder", False))


def made(n: int, start: int = 0) -> Split:
    """Images of 2×3 pixels and one channel that count up, labelled 0, 1, 2, …"""
    images = np.arange(start, start + 6 * n, dtype=np.uint8).reshape(n, 2, 3, 1)
    return Split(images, np.arange(n, dtype=np.int64))


def set_of(train: Split, held_out: Split, test: Split) -> ImageDataset:
    return ImageDataset(train, held_out, test, classes=10, white=100)


def test_digits_are_what_they_should_be() -> None:
    found = digits()
    assert (len(found.train), len(found.held_out), len(found.test)) == (1438, 0, 359)
    assert (found.classes, found.white) == (10, 16)
    for split in (found.train, found.test):
        assert split.images.shape == (len(split), 8, 8, 1)
        assert split.images.dtype == np.uint8 and split.images.max() == 16
        assert split.labels.shape == (len(split),)
        assert split.labels.dtype == np.int64
        assert set(split.labels.tolist()) == set(range(10))


def test_every_fifth_digit_is_for_testing_and_no_other() -> None:
    bunch, found = load_digits(), digits()
    kept = [i for i in range(1797) if i % 5 != 4]
    for split, places in ((found.test, range(4, 1797, 5)), (found.train, kept)):
        assert np.array_equal(split.images[..., 0], bunch.images[places])
        assert np.array_equal(split.labels, bunch.target[places])


def test_pinned_digest_of_the_digits() -> None:
    # A change means that scikit-learn ships other digits, or that they are split otherwise.
    assert digits().digest == "2e8250bc076378c1cff2f75d0a6ec05136e79ceea844c8e8e9eebfe73c9ac283"


def test_held_out_digits_are_the_last_of_training() -> None:
    everything, found = digits(), digits(100)
    assert (len(found.train), len(found.held_out), len(found.test)) == (1338, 100, 359)
    assert np.array_equal(found.train.images, everything.train.images[:1338])
    assert np.array_equal(found.held_out.images, everything.train.images[1338:])
    assert np.array_equal(found.held_out.labels, everything.train.labels[1338:])
    assert np.array_equal(found.test.images, everything.test.images)


@pytest.mark.parametrize("held_out", [1438, 5000])
def test_holding_all_out_is_refused(held_out: int) -> None:
    wanted = rf"^data\.held_out={held_out}: must be below 1438, the training images$"
    with pytest.raises(DataError, match=wanted):
        digits(held_out)


@pytest.mark.parametrize("held_out", [0, 1, 3])
def test_split_off_cuts_once(held_out: int) -> None:
    train, kept = split_off(made(4), held_out)
    assert train.labels.tolist() == list(range(4 - held_out))
    assert kept.labels.tolist() == list(range(4 - held_out, 4))
    both = np.concatenate([train.images, kept.images])
    assert np.array_equal(both, made(4).images)


def test_split_off_leaves_something() -> None:
    with pytest.raises(DataError, match="must be below 4"):
        split_off(made(4), 4)


def test_mean_is_of_the_training_images_alone_pixel_by_pixel() -> None:
    found = set_of(made(2), made(3, 50), made(4, 100))
    wanted = np.array([[3, 4, 5], [6, 7, 8]])[..., None] / 100
    assert found.mean.dtype == np.float32
    assert found.mean.shape == (2, 3, 1)
    np.testing.assert_array_equal(found.mean, wanted.astype(np.float32))


def test_mean_of_many_bright_images_does_not_overflow() -> None:
    train = Split(np.full((70_000, 1, 1, 1), 255, np.uint8), np.zeros(70_000, np.int64))
    assert ImageDataset(train, made(0), made(0), 10, 255).mean.item() == 1.0


def with_one_more(column: NDArray[Any]) -> NDArray[Any]:
    changed = column.copy()
    changed.flat[-1] += 1
    return changed


def test_digest_covers_every_pixel_label_and_boundary() -> None:
    splits = [made(3), made(2, 50), made(2, 100)]
    sets = [set_of(*splits)]
    for i, split in enumerate(splits):
        pixel = Split(with_one_more(split.images), split.labels)
        label = Split(split.images, with_one_more(split.labels))
        sets += [set_of(*splits[:i], changed, *splits[i + 1 :]) for changed in (pixel, label)]
    sets.append(set_of(made(3), *split_off(made(2, 50), 1)))
    sets.append(set_of(*split_off(made(5), 2), made(2, 100)))
    assert len({s.digest for s in sets}) == len(sets)
    assert set_of(*splits).digest == sets[0].digest


def test_digest_is_of_values_not_of_memory_layout() -> None:
    split = made(3)
    turned = Split(np.asfortranarray(split.images), split.labels)
    assert set_of(turned, split, split).digest == set_of(split, split, split).digest
