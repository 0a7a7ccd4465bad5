"""What training and evaluation see, beside an image-by-image version in plain numpy."""

import gc
import weakref

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from degradation.data import device_loader, loaders
from degradation.data.dataset import ImageDataset, Split
from degradation.data.device_loader import (
    DeviceEvalLoader,
    DeviceLoader,
    Placement,
    unit_scale,
)
from degradation.data.order import Table, batch_table
from tests.conftest import small

# The sides differ, so that none can stand for the other.
N, HEIGHT, WIDTH = 12, 5, 7
CPU = torch.device("cpu")
PLACE = Placement(CPU)


def noise(n: int, channels: int, seed: int) -> Split:
    draw = np.random.Generator(np.random.Philox(seed))
    images = draw.integers(0, 256, (n, HEIGHT, WIDTH, channels), dtype=np.uint8)
    return Split(images, draw.integers(0, 10, n))


def noise_dataset(channels: int = 3, max_value: int = 255) -> ImageDataset:
    splits = noise(N, channels, 1), noise(3, channels, 2), noise(10, channels, 3)
    return ImageDataset(*splits, classes=10, max_value=max_value)


def loader_of(
    found: ImageDataset, seed: int = 0, batch_size: int = 5, pad: int = 2, flip: bool = True
) -> DeviceLoader:
    options = {"data__pad": pad, "data__flip": flip, "recipe__batch_size": batch_size}
    return DeviceLoader(found, small(seed=seed, **options), PLACE)


def naive(found: ImageDataset, table: Table, pad: int) -> NDArray[np.float32]:
    """A batch: subtract the mean, pad with zeros, crop, flip, one image after the other."""
    batch = []
    for index, top, left, flip in zip(*table.columns, strict=True):
        x = found.train.images[index].astype(np.float32) / np.float32(found.max_value) - found.mean
        x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        x = x[top : top + HEIGHT, left : left + WIDTH]
        batch.append((x[:, ::-1] if flip else x).transpose(2, 0, 1))
    return np.stack(batch)


@pytest.mark.parametrize("batch_size", [5, N, 2 * N + 1])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 2])
@pytest.mark.parametrize(("channels", "max_value"), [(1, 16), (3, 255)])
def test_batches_are_what_a_naive_version_makes(
    channels: int, max_value: int, pad: int, flip: bool, batch_size: int, monkeypatch
) -> None:
    """Across several epochs and chunks of the table, at any step first or next."""
    monkeypatch.setattr(device_loader, "CHUNK", 8 * batch_size)
    found = noise_dataset(channels, max_value)
    loader = loader_of(found, 4, batch_size, pad, flip)
    for step in (17, 0, 1, 2, 7, 8, 7, 7):
        x, y = loader.get_batch(step)
        table = batch_table(4, step * batch_size, batch_size, N, pad, flip)
        np.testing.assert_allclose(x.numpy(), naive(found, table, pad), atol=1e-6, rtol=0)
        assert y.tolist() == found.train.labels[table.index].tolist()


def test_digest_is_of_seed_batch_size_pad_and_flip() -> None:
    others = [{}, {"seed": 1}, {"batch_size": 6}, {"pad": 1}, {"flip": False}]
    digests = [loader_of(noise_dataset(), **other).digest() for other in others]
    assert len(set(digests)) == len(digests)
    assert loader_of(noise_dataset(3, 16)).digest() == digests[0]


class DividesAsAGpu(TorchDispatchMode):
    """torch's CUDA kernels multiply by the reciprocal of what is no tensor on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.div, torch.ops.aten.div_):
            x, divisor = args
            if not isinstance(divisor, torch.Tensor):
                func, args = torch.ops.aten.mul.Tensor, (x, 1 / np.float32(divisor))
        return func(*args, **(kwargs or {}))


def test_scaled_pixels_have_the_same_bits_where_division_is_a_gpus() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    wanted = np.arange(256, dtype=np.float32) / np.float32(255)
    with DividesAsAGpu():
        assert not np.array_equal((pixels.float() / 255).numpy(), wanted)
        assert np.array_equal(unit_scale(pixels, 255).numpy(), wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_bits_of_the_cpu() -> None:
    batches = []
    for device in (CPU, torch.device("cuda")):
        evaluated = loaders.eval_loader(noise_dataset(), "test", small(), Placement(device))
        trained = loaders.train_loader(noise_dataset(), small(), Placement(device))
        batches.append([*next(iter(evaluated)), *trained.get_batch(100)])
    for wanted, found in zip(*batches, strict=True):
        assert found.is_cuda and torch.equal(found.cpu(), wanted)


def test_runs_of_a_process_share_one_copy_of_a_data_set() -> None:
    one, other = (loader_of(noise_dataset(), seed) for seed in (0, 1))
    assert one.images is other.images
    assert loader_of(noise_dataset(), pad=1).images is not one.images
    evals = [DeviceEvalLoader(noise_dataset(), name, PLACE) for name in ("test", "test", "train")]
    assert evals[0].images is evals[1].images is not evals[2].images
    alive = weakref.ref(one.images)
    del one, other, evals
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(
    ("size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (100, [10]), (None, [10])]
)
def test_evaluation_sees_every_image_once_in_order(size: int | None, sizes: list[int]) -> None:
    found = noise_dataset()
    images = DeviceEvalLoader(found, "test", PLACE, batch_size=size)
    assert len(images) == 10
    for _ in range(2):
        batches = list(images)
        assert [len(y) for _, y in batches] == sizes
        assert torch.cat([y for _, y in batches]).tolist() == found.test.labels.tolist()
        wanted = found.test.images.astype(np.float32) / np.float32(255) - found.mean
        x = torch.cat([x for x, _ in batches]).numpy()
        np.testing.assert_allclose(x, wanted.transpose(0, 3, 1, 2), atol=1e-6, rtol=0)
