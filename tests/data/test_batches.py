"""What training and testing see, beside a image-by-image version in plain numpy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from degradation.config import schema
from degradation.data.dataset import ImageDataset, Split
from degradation.data.device_loader import Exam, Stream
from degradation.data.order import batch_table

N, HEIGHT, WIDTH = 12, 5, 7  # no square, so that no side can stand for the other
CPU = torch.device("cpu")


def noise(n: int, channels: int, seed: int) -> Split:
    draw = np.random.Generator(np.random.Philox(seed))
    images = draw.integers(0, 256, (n, HEIGHT, WIDTH, channels), dtype=np.uint8)
    return Split(images, draw.integers(0, 10, n))


def images(channels: int = 3, white: int = 255) -> ImageDataset:
    splits = noise(N, channels, 1), noise(3, channels, 2), noise(10, channels, 3)
    return ImageDataset(*splits, classes=10, white=white)


def settings(pad: int = 2, flip: bool = True) -> schema.Data:
    return schema.Data("digits", 0, pad, flip, "data", False)


def naive(
    found: ImageDataset, data: schema.Data, seed: int, batch: int, i: int
) -> NDArray[np.float32]:
    """Batch i: subtract the mean, pad with zeros, crop, flip, one image after the other."""
    table = batch_table(seed, i * batch, batch, len(found.train), data.pad, data.flip)
    rows = []
    for index, top, left, flip in zip(*table.columns, strict=True):
        x = found.train.images[index].astype(np.float32) / np.float32(found.white) - found.mean
        x = np.pad(x, ((data.pad, data.pad), (data.pad, data.pad), (0, 0)))
        x = x[top : top + HEIGHT, left : left + WIDTH]
        rows.append((x[:, ::-1] if flip else x).transpose(2, 0, 1))
    return np.stack(rows)


@pytest.mark.parametrize("batch", [5, N, 2 * N + 1])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize(("channels", "white"), [(1, 16), (3, 255)])
def test_batches_are_what_a_naive_version_makes(
    channels: int, white: int, pad: int, flip: bool, batch: int
) -> None:
    found, data = images(channels, white), settings(pad, flip)
    stream = Stream(found, data, seed=4, batch=batch, device=CPU)
    for i in range(6):  # across several epochs, in the middle of a batch
        x, _ = stream.batch(i)
        np.testing.assert_allclose(x.numpy(), naive(found, data, 4, batch, i), atol=1e-6, rtol=0)


def test_labels_go_with_their_images() -> None:
    found = images()
    stream = Stream(found, settings(pad=0, flip=False), seed=0, batch=5, device=CPU)
    whole = torch.from_numpy((found.train.images / 255 - found.mean).transpose(0, 3, 1, 2))
    for i in range(6):
        x, y = stream.batch(i)
        index = batch_table(0, 5 * i, 5, N, 0, False).index
        assert y.tolist() == found.train.labels[index].tolist()
        torch.testing.assert_close(x, whole[index].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [True, False])
def test_shape_kind_and_layout(channels: int, flip: bool) -> None:
    found = images(channels)
    batches = [Stream(found, settings(flip=flip), 0, 4, CPU).batch(0)]
    batches.append(next(iter(Exam(found.test, found, CPU, size=4))))
    for x, y in batches:
        assert x.shape == (4, channels, HEIGHT, WIDTH) and x.dtype == torch.float32
        assert x.stride() == (HEIGHT * WIDTH * channels, 1, WIDTH * channels, channels)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y.shape == (4,) and y.dtype == torch.int64


def test_the_padding_is_mean_pixels() -> None:
    white = Split(np.full((1, HEIGHT, WIDTH, 1), 255, np.uint8), np.zeros(1, np.int64))
    black = Split(np.zeros((1, HEIGHT, WIDTH, 1), np.uint8), np.zeros(1, np.int64))
    both = Split(np.concatenate([white.images, black.images]), np.zeros(2, np.int64))
    stream = Stream(ImageDataset(both, black, black, 10, 255), settings(pad=2), 0, 50, CPU)
    x, _ = stream.batch(0)
    assert set(x.unique().tolist()) == {-0.5, 0.0, 0.5}


def test_a_batch_depends_on_its_number_alone() -> None:
    stream = Stream(images(), settings(), 0, 5, CPU)
    wanted = [stream.batch(i) for i in range(5)]
    for i in (3, 0, 4, 4, 1, 2):
        for one, other in zip(stream.batch(i), wanted[i], strict=True):
            assert torch.equal(one, other)


def test_what_is_done_to_a_batch_changes_neither_later_ones_nor_the_set() -> None:
    found = images()
    before, stream, exam = (
        found.digest,
        Stream(found, settings(), 0, N, CPU),
        Exam(found.test, found, CPU),
    )
    wanted, examined = stream.batch(0)[0].clone(), next(iter(exam))[0].clone()
    stream.batch(0)[0].zero_()
    next(iter(exam))[0].zero_()
    assert torch.equal(stream.batch(0)[0], wanted)
    assert torch.equal(next(iter(exam))[0], examined)
    assert found.digest == before


def test_seeds_give_other_batches() -> None:
    one, other = (Stream(images(), settings(), seed, N, CPU).batch(0)[0] for seed in (0, 1))
    assert not torch.equal(one, other)


def digest(seed: int = 0, batch: int = 5, pad: int = 2, flip: bool = True) -> str:
    return Stream(images(), settings(pad, flip), seed, batch, CPU).digest()


def test_digest_is_of_seed_batch_pad_and_flip() -> None:
    digests = [digest(), digest(seed=1), digest(batch=6), digest(pad=1), digest(flip=False)]
    assert len(set(digests)) == len(digests)
    assert digest() == digests[0]


def test_digest_is_shared_by_depths_and_arms(small: Callable[..., schema.RunConfig]) -> None:
    configs = [small(), small(depth=20), small(model__shortcut="identity"), small(recipe__lr=0.1)]
    streams = [Stream(images(), p.data, p.seed, p.recipe.batch_size, CPU) for p in configs]
    assert len({stream.digest() for stream in streams}) == 1


@pytest.mark.parametrize(
    ("size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (100, [10]), (None, [10])]
)
def test_exam_gives_every_image_once_in_order(size: int | None, sizes: list[int]) -> None:
    found = images()
    exam = Exam(found.test, found, CPU, size)
    batches = list(exam)
    assert len(exam) == 10
    assert [len(y) for _, y in batches] == sizes
    assert torch.cat([y for _, y in batches]).tolist() == found.test.labels.tolist()
    wanted = found.test.images.astype(np.float32) / np.float32(255) - found.mean
    x = torch.cat([x for x, _ in batches]).numpy()
    np.testing.assert_allclose(x, wanted.transpose(0, 3, 1, 2), atol=1e-6, rtol=0)


def test_exam_subtracts_the_mean_of_the_training_images() -> None:
    found = images()
    x = torch.cat([x for x, _ in Exam(found.train, found, CPU, 5)])
    assert x.mean(0).abs().max() < 1e-6
    assert torch.cat([x for x, _ in Exam(found.test, found, CPU)]).mean(0).abs().max() > 1e-2


def test_an_exam_can_be_sat_twice() -> None:
    exam = Exam(images().test, images(), CPU, 4)
    for first, second in zip(exam, exam, strict=True):
        assert torch.equal(first[0], second[0])


def test_exam_of_nothing_is_no_batch() -> None:
    assert list(Exam(noise(0, 3, 0), images(), CPU)) == []
