"""Batches from a folder of images, decoded ahead of time by the workers of torch's DataLoader.

What a training batch holds is a function of seed and step: a worker is told the positions in the
stream and draws file, scale, crop, mirroring and lighting from them (order.py). So there is no
random state, the number of workers changes nothing but speed, and any step can be the first. The
workers hand over bytes; on the device they are scaled to [0, 1], the mean colour is subtracted and
the lighting noise added.
"""

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degradation.config.schema import Data, RunConfig
from degradation.data.dataset import DataError
from degradation.data.device_loader import Placement, channels_first, unit_scale
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import LIGHTING, MEAN
from degradation.data.image_folder.manifest import Files, ImageFolder
from degradation.data.order import batch_table, digest, draws
from degradation.system import process_group
from degradation.system.signals import end_with_parent, signals_blocked

MAX_VALUE = 255
MAX_WORKERS = 16


class TrainCrops(Dataset[tuple[Tensor, Tensor, int]]):
    """Position in the training stream → crop (crop, crop, 3) uint8, what is added to its colours
    (3,) float32, and label. Raises DecodeError."""

    def __init__(self, dataset: ImageFolder, data: Data, seed: int) -> None:
        self.root, self.files, self.data, self.seed = dataset.root, dataset.train, data, seed

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, int]:
        data, count = self.data, len(self.files)
        table = batch_table(self.seed, position, 1, count, 0, data.flip)
        drawn = draws(self.seed, position, 1)
        index, bits = int(table.index[0]), (drawn.side[0], drawn.top[0], drawn.left[0])
        path = self.root / self.files.paths[index]
        assert data.crop_size is not None
        crop = decode.random_crop(path, data.crop_size, data.resize_range, bits)
        if table.flip[0]:
            crop = crop[:, ::-1].copy()
        shift = -MEAN
        if data.pca_lighting:
            # One component after the other: the bits of a matrix product vary by library.
            for normal, component in zip(drawn.lighting[0], LIGHTING, strict=True):
                shift = shift + normal * component
        return torch.from_numpy(crop), torch.from_numpy(shift).float(), self.files.labels[index]


class FileImages(Dataset[tuple[Any, int]]):
    """Place in a list of files → what `read` makes of that file, and its label. Raises
    DecodeError."""

    def __init__(self, root: Path, files: Files, read: Callable[[Path], Any]) -> None:
        self.root, self.files, self.read = root, files, read

    def __getitem__(self, place: int) -> tuple[Any, int]:
        return self.read(self.root / self.files.paths[place]), self.files.labels[place]


class FolderLoader:
    """Training batches, each a pure function of seed and step; of several processes, each has its
    share of every batch."""

    def __init__(self, dataset: ImageFolder, config: RunConfig, place: Placement) -> None:
        self.num_images, self.batch_size = len(dataset.train), config.recipe.batch_size
        self.place, self.share = place, self.batch_size // place.world_size
        self.crops = TrainCrops(dataset, config.data, config.seed)
        self.decoded: Generator[Any, None, None] | None = None
        """What the workers decode, from step `next_step` on."""
        self.next_step = 0

    def get_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a step (see loaders.py). The workers decode ahead, step after step;
        for one out of order they start anew."""
        if self.decoded is None or step != self.next_step:
            self.close()
            self.decoded = decoded(self.crops, self.positions(step), self.place)
        self.next_step = step + 1
        batch = next(self.decoded)
        crops, shift, labels = (part.to(self.place.device, non_blocking=True) for part in batch)
        x = unit_scale(crops, MAX_VALUE).add_(shift[:, None, None])
        return channels_first(x, self.place.memory_format), labels

    def positions(self, step: int) -> Iterator[range]:
        """The positions in the stream of this process's share of each batch, from a step on."""
        # A generator method would keep this loader alive, which keeps the generator alive: the
        # workers would only end at the next garbage collection.
        first, share = step * self.batch_size + self.place.rank * self.share, self.share
        starts = itertools.count(first, self.batch_size)
        return (range(start, start + share) for start in starts)

    def digest(self) -> str:
        """SHA-256 over what fixes the batches beside the images."""
        seed, first = self.crops.seed, min(self.num_images, 10_000)
        table = batch_table(seed, 0, first, self.num_images, 0, self.crops.data.flip)
        drawn = draws(seed, 0, first)
        columns = (table.index, table.flip, drawn.side, drawn.top, drawn.left, drawn.lighting)
        return digest(self.batch_size, *columns)

    def close(self) -> None:
        """End the workers."""
        if self.decoded is not None:
            self.decoded.close()
            self.decoded = None


class FolderEvalLoader:
    """Images as the network is evaluated on them: the center of each, once, in order; of several
    processes, each has every so many batches."""

    def __init__(
        self,
        dataset: ImageFolder,
        files: Files,
        data: Data,
        place: Placement,
        batch_size: int | None = None,
    ) -> None:
        assert data.crop_size and data.eval_resize
        crop = partial(decode.center_crop, crop=data.crop_size, resize=data.eval_resize)
        self.crops, self.place = FileImages(dataset.root, files, crop), place
        self.batch_size = batch_size or (50 if place.device.type == "cpu" else 250)

    def __len__(self) -> int:
        return len(self.crops.files)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        places = self.place.batches(len(self), self.batch_size)
        for crops, labels in decoded(self.crops, places, self.place):
            yield normalized(crops, self.place), labels.to(self.place.device, non_blocking=True)


@cache
def mean_colour(device: torch.device) -> Tensor:
    return torch.from_numpy(MEAN).float().to(device)


def normalized(pixels: Tensor, place: Placement) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width) on the device, less the mean."""
    x = unit_scale(pixels.to(place.device, non_blocking=True), MAX_VALUE)
    return channels_first(x.sub_(mean_colour(place.device)), place.memory_format)


def decoded(
    dataset: Dataset[Any], batches: Iterable[Any], place: Placement
) -> Generator[Any, None, None]:
    """What the data set gives for each batch of places, in order, by the workers of `place`.

    Raises DataError where an image can't be read, and RuntimeError where a worker has died.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers(place.workers, place.device),
        # A copy from pinned memory doesn't hold up the host. Torch's allocator reuses such memory
        # only after an event has said that the copy is done.
        pin_memory=place.device.type == "cuda",
        worker_init_fn=leave_signals_to_parent,
        # Else it would draw a number from the generator that everyone shares.
        generator=torch.Generator(),
    )
    with signals_blocked():
        coming = iter(loader)
    try:
        yield from coming
    except decode.DecodeError as error:
        # From a worker it comes with that one's traceback before it.
        reason = str(error).rpartition("DecodeError: ")[2].strip()
        raise DataError(
            f"{reason}; restore the file, or move the run's folder away and list it in "
            "data.skip=FILE; `degradation data verify FOLDER` finds all such files"
        ) from None
    except (RuntimeError, OSError, EOFError) as error:  # whichever is noticed first
        raise RuntimeError(f"DataLoader worker died: {error}") from error
    finally:
        # The workers end with their iterator; at the next garbage collection they would end in
        # whatever thread that runs, which would wait for them for seconds.
        del coming


def faults(images: ImageFolder, workers: int) -> Iterator[tuple[str, str]]:
    """The path of each image and what is wrong with it, found by decoding all of it; "" where
    nothing is."""
    place = Placement(torch.device("cpu"), workers=workers)
    for files in (images.train, images.test):
        checked = FileImages(images.root, files, decode.fault)
        batches = decoded(checked, place.batches(len(files), 32), place)
        found = itertools.chain.from_iterable(faults for faults, _ in batches)
        yield from zip(files.paths, found, strict=True)


def num_workers(asked: int | str, device: torch.device) -> int:
    """How many processes decode for a run: `machine.workers`, or by the cores.

    With a GPU these are the cores but one, divided by the run's processes on this machine; without
    one the network needs the cores, and a single process decodes.
    """
    if isinstance(asked, int):
        return asked
    if device.type != "cuda":
        return 1
    cores = len(os.sched_getaffinity(0)) // process_group.local_world_size()
    return max(1, min(MAX_WORKERS, cores - 1))


def leave_signals_to_parent(worker: int = 0) -> None:
    """In a worker: it ends with its parent, which alone handles Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before it could be watched
        os._exit(1)
