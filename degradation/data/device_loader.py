"""Batches of a data set that lies whole on the device, cropped and flipped there.

Nothing is random here: what a training batch holds is a function of seed and step (order.py).
Images are scaled to [0, 1], the per-pixel mean is subtracted, and the zeros of the padding come
after that, as mean pixels. There is no division by a standard deviation: the paper names none, and
the batch normalization behind the first convolution cancels any factor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from degradation.config.schema import Data, Numerics, RunConfig
from degradation.data.dataset import ImageDataset, Split
from degradation.data.order import batch_table, digest, epoch_table

CHUNK = 2**15
"""Positions of the stream whose table is made and sent to the device at a time."""


@dataclass(frozen=True)
class Placement:
    """Where batches go, who decodes them, and which of them this process has."""

    device: torch.device
    memory_format: torch.memory_format = torch.channels_last
    workers: int | str = "auto"
    """Processes that decode images, as `machine.workers` has them."""
    rank: int = 0
    world_size: int = 1

    def batches(self, images: int, size: int) -> Iterator[range]:
        """This process's batches of an evaluation set, as places in it: every so many of all."""
        for start in range(self.rank * size, images, self.world_size * size):
            yield range(start, min(start + size, images))


class TrainImages:
    """The training set on a device, laid out so that a crop is `height` runs of bytes."""

    def __init__(self, dataset: ImageDataset, data: Data, device: torch.device) -> None:
        border = (0, 0, data.pad, data.pad, data.pad, data.pad)
        images = torch.from_numpy(dataset.train.images.copy()).to(device)
        # Every image and then its mirror image: to mirror batch by batch would take six times the
        # time of a crop (2.4 against 0.4 µs an image on a CPU).
        images = torch.cat([images, images.flip(2)]) if data.flip else images
        padded = functional.pad(images, border)
        height, width, channels = dataset.train.images.shape[1:]
        pixels = padded.numel() // channels
        self.pixel_runs = padded.as_strided((pixels - width + 1, width * channels), (channels, 1))
        """(pixels, width · channels): the `width` pixels of the padded images from pixel i on."""
        self.line_offsets = padded.shape[2] * torch.arange(height, device=device)
        """(height,): how many pixels behind a crop's first one each of its lines begins."""
        mean = functional.pad(torch.from_numpy(dataset.mean).to(device), border)
        # By top and then by left: every window of the padded mean image.
        windows = mean.unfold(0, height, 1).unfold(1, width, 1)
        crops = windows.permute(0, 1, 3, 4, 2).flatten(0, 1)
        self.mean_crops = torch.cat([crops, crops.flip(2)] if data.flip else [crops])
        """(crops, height, width, channels): the mean image cropped in each way, then mirrored."""
        self.labels = torch.from_numpy(dataset.train.labels).to(device)


class EvalImages:
    """A split on a device, and the mean that is subtracted from it."""

    def __init__(self, split: Split, mean: NDArray[np.float32], device: torch.device) -> None:
        self.images = torch.from_numpy(split.images.copy()).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.mean = torch.from_numpy(mean).to(device)


class DeviceLoader:
    """Training batches, each a pure function of seed and step; of several processes, each has its
    share of every batch."""

    def __init__(self, dataset: ImageDataset, config: RunConfig, place: Placement) -> None:
        self.data, self.seed, self.num_images = config.data, config.seed, len(dataset.train)
        self.batch_size, self.place, device = config.recipe.batch_size, place, place.device
        self.share = self.batch_size // place.world_size
        self.shape, self.max_value = dataset.train.images.shape[1:], dataset.max_value
        key = ("train", dataset.digest, self.data.pad, self.data.flip)
        self.images = shared(device, key, lambda: TrainImages(dataset, config.data, device))
        self.chunk_steps = max(8, CHUNK // self.batch_size)
        self.chunk = -1
        """Which chunk of steps `table` is of."""
        self.table = torch.empty(0)
        """(chunk_steps, 3, share) int64 on the device: image, first pixel, mean crop."""

    def get_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a step (see loaders.py). It does not wait for the device."""
        chunk, line = divmod(step, self.chunk_steps)
        if chunk != self.chunk:
            table, device = torch.from_numpy(self._table(chunk)), self.place.device
            # A GPU copies from pinned memory without being waited for; torch's allocator gives that
            # memory to nobody else before an event says that the copy is done.
            table = table.pin_memory() if device.type == "cuda" else table
            self.table, self.chunk = table.to(device, non_blocking=True), chunk
        index, first_pixel, mean_crop = self.table[line]
        lines = (first_pixel[:, None] + self.images.line_offsets).flatten()
        x = self.images.pixel_runs.index_select(0, lines).view(self.share, *self.shape)
        x = unit_scale(x, self.max_value).sub_(self.images.mean_crops.index_select(0, mean_crop))
        x = channels_first(x, self.place.memory_format)
        return x, self.images.labels.index_select(0, index)

    def _table(self, chunk: int) -> NDArray[np.int64]:
        """What `table` holds for the steps of a chunk."""
        pad, count = self.data.pad, self.chunk_steps * self.batch_size
        drawn = batch_table(self.seed, chunk * count, count, self.num_images, pad, self.data.flip)
        height, width = self.shape[0] + 2 * pad, self.shape[1] + 2 * pad
        image = drawn.index + self.num_images * drawn.flip
        left = np.where(drawn.flip, 2 * pad - drawn.left, drawn.left)  # in the mirror image
        first_pixel = (image * height + drawn.top) * width + left
        side = 2 * pad + 1
        mean_crop = (drawn.flip * side + drawn.top) * side + drawn.left
        table = np.stack([drawn.index, first_pixel, mean_crop])
        table = table.reshape(3, self.chunk_steps, self.batch_size).swapaxes(0, 1)
        first = self.place.rank * self.share
        return np.ascontiguousarray(table[:, :, first : first + self.share])

    def digest(self) -> str:
        """SHA-256 over what fixes the batches beside the images."""
        table = epoch_table(self.seed, 0, self.num_images, self.data.pad, self.data.flip)
        return digest(self.batch_size, *table.columns)

    def close(self) -> None:
        """There is no process to end."""


class DeviceEvalLoader:
    """A split as the network is evaluated on it: every image once, whole, in order; of several
    processes, each has every so many batches."""

    def __init__(
        self, dataset: ImageDataset, name: str, place: Placement, batch_size: int | None = None
    ) -> None:
        split: Split = getattr(dataset, name)
        key, device = (name, dataset.digest), place.device
        self.images = shared(device, key, lambda: EvalImages(split, dataset.mean, device))
        self.max_value, self.place = dataset.max_value, place
        # Measured: on a CPU 100 images at a time are the fastest; a GPU wants many.
        self.batch_size = batch_size or (100 if device.type == "cpu" else 2000)

    def __len__(self) -> int:
        return len(self.images.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for places in self.place.batches(len(self), self.batch_size):
            part, found = slice(places.start, places.stop), self.images
            x = unit_scale(found.images[part], self.max_value).sub_(found.mean)
            yield channels_first(x, self.place.memory_format), found.labels[part]


T = TypeVar("T")
_shared: WeakValueDictionary[Any, Any] = WeakValueDictionary()


def shared(device: torch.device, key: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gives, or what it gave for `key` on the device while someone still holds that.

    Several runs of one process share the one copy of a data set on their device.
    """
    found = _shared.get((device, key))
    if found is None:
        found = _shared[device, key] = make()
        if device.type == "cuda":
            # The next run that takes it may work in another stream.
            torch.cuda.synchronize(device)
    return found


def memory_format(numerics: Numerics) -> torch.memory_format:
    """What `numerics.memory_format` names."""
    channels_last = numerics.memory_format == "channels_last"
    return torch.channels_last if channels_last else torch.contiguous_format


def unit_scale(images: Tensor, max_value: int) -> Tensor:
    """uint8 of 0 to `max_value` → a new float32 tensor of 0 to 1: the same bits on every device."""
    # Beside a Python number a GPU multiplies by its reciprocal, which rounds otherwise.
    return images.float().div_(torch.full((), float(max_value), device=images.device))


def channels_first(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """(n, height, width, channels) → (n, channels, height, width); channels_last copies nothing."""
    x = x.permute(0, 3, 1, 2)
    # Images of one channel are contiguous in both ways, and torch takes strides as they lie here
    # for channels_last: a copy has those of the format asked for.
    if memory_format == torch.contiguous_format:
        return x.clone(memory_format=memory_format)
    return x.contiguous(memory_format=memory_format)
