"""Which images, cropped and flipped how: a pure function of seed and position, pinned.

A pin that changes here means that a run can't be gone on with, nor a result be repeated.
"""

import numpy as np
import pytest
from scipy import stats

from degradation.data.order import Table, batch_table, below, draws, epoch_table

N = 100


def test_pinned_first_positions() -> None:
    table = epoch_table(seed=0, epoch=0, images=50_000, pad=4, flip=True).part(0, 8)
    assert table.index.tolist() == [23686, 34770, 17, 24313, 19349, 19274, 9940, 10674]
    assert table.top.tolist() == [7, 2, 7, 4, 8, 4, 4, 0]
    assert table.left.tolist() == [7, 0, 3, 7, 2, 0, 3, 6]
    assert table.flip.tolist() == [False, True, False, True, False, True, False, False]


@pytest.mark.parametrize("epoch", [0, 1, 1000])
@pytest.mark.parametrize("images", [1, 2, N, 1438, 50_000])
def test_an_epoch_is_a_permutation(images: int, epoch: int) -> None:
    table = epoch_table(0, epoch, images, 4, True)
    assert np.array_equal(np.sort(table.index), np.arange(images))
    assert [len(column) for column in table.columns] == [images] * 4
    assert [c.dtype for c in table.columns] == [np.int64, np.int64, np.int64, np.bool_]


@pytest.mark.parametrize("size", [1, 7, 32, N, 3 * N + 1])
def test_batches_are_the_epochs_one_after_the_other(size: int) -> None:
    epochs = [epoch_table(0, epoch, N, 2, True) for epoch in range(7)]
    stream = Table(*(np.concatenate(c) for c in zip(*(e.columns for e in epochs), strict=True)))
    for start in range(0, 7 * N - size + 1, size):
        batch = batch_table(0, start, size, N, 2, True)
        for one, other in zip(batch.columns, stream.part(start, start + size).columns, strict=True):
            assert one.dtype == other.dtype and np.array_equal(one, other)


# What is drawn for images of many sizes


def test_pinned_draws() -> None:
    found = draws(0, 10**9, 2)
    assert found.side.tolist() == [13048351234550214122, 11379649843389797333]
    pin = [-0.452728271484375, -1.6681365966796875, 0.2149810791015625]
    assert found.lighting[0].tolist() == pin


def test_any_position_is_drawn_alike_from_anywhere() -> None:
    whole = draws(7, 0, 50)
    for start, size in ((0, 1), (13, 20), (49, 1)):
        part = draws(7, start, size)
        for name in ("side", "top", "left", "lighting"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[start : start + size])
    assert not np.array_equal(draws(8, 0, 50).side, whole.side)


def test_draws_are_uniform_and_normal() -> None:
    found = draws(0, 0, 200_000)
    for raw in (found.side, found.top, found.left):
        values = [below(225, bits) for bits in raw.tolist()]
        assert stats.chisquare(np.bincount(values, minlength=225)).pvalue > 1e-6
    noise = found.lighting
    assert abs(noise.mean(axis=0)).max() < 0.012
    assert abs(np.cov(noise.T) - np.eye(3)).max() < 0.02
    assert abs((noise**4).mean() - 3) < 0.15  # of a sum of twelve uniform numbers: 2.9
