"""Batches from a folder of images, decoded ahead of time by the workers of torch's DataLoader.

What a training batch holds is a function of seed and step: a worker is told the positions in the
stream and draws file, scale, crop, mirroring and lighting from them (order.py). So there is no
random state, the number of workers changes nothing but speed, and any step can be the first. The
workers hand over bytes; on the device they are scaled to [0, 1], the mean colour is subtracted and
the lighting noise added.
"""

import hashlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degradation.data.dataset import DataError
from degradation.data.device_loader import channels_first
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import LIGHTING, MEAN, ImageFolder
from degradation.data.image_folder.manifest import Files
from degradation.data.order import batch_table, draws
from degradation.system import process_group
from degradation.system.signals import end_with_parent, signals_blocked

MAX_VALUE = 255
MAX_WORKERS = 16
PREFETCH = 2
"""Batches that each worker may be ahead."""


class TrainCrops(Dataset[Any]):
    """Positions of the training stream → crops (n, crop, crop, 3) uint8, colour shifts (n, 3)
    float32 and labels (n,), or the reason why one can't be read."""

    def __init__(self, dataset: ImageFolder, seed: int) -> None:
        self.root, self.data, self.seed = dataset.manifest.root, dataset.data, seed
        self.paths = dataset.train.paths
        self.labels = np.array(dataset.train.labels, np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, positions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor] | str:
        data, start, count = self.data, positions[0], len(positions)
        assert data.crop_size is not None
        table = batch_table(self.seed, start, count, len(self), 0, data.flip)
        drawn = draws(self.seed, start, count)
        crops = np.empty((count, data.crop_size, data.crop_size, 3), np.uint8)
        for i, index in enumerate(table.index):
            path = self.root / self.paths[index]
            bits = (int(drawn.side[i]), int(drawn.top[i]), int(drawn.left[i]))
            try:
                crop = decode.random_crop(path, data.crop_size, data.resize_range, bits)
            except decode.DecodeError as error:
                return f"{path}: {error}"
            crops[i] = crop[:, ::-1] if table.flip[i] else crop
        shift = np.tile(-MEAN, (count, 1))
        if data.pca_lighting:
            # One component after the other: the bits of a matrix product vary by library.
            for component in range(3):
                shift += drawn.lighting[:, component, None] * LIGHTING[component]
        tensors = (crops, shift.astype(np.float32), self.labels[table.index])
        return tuple(map(torch.from_numpy, tensors))  # type: ignore[return-value]


class CenterCrops(Dataset[Any]):
    """Places in a list of files → center crops (n, crop, crop, 3) uint8 and labels (n,), or the
    reason why one can't be read."""

    def __init__(self, dataset: ImageFolder, files: Files) -> None:
        self.root, self.files, self.data = dataset.manifest.root, files, dataset.data

    def __getitems__(self, places: Sequence[int]) -> tuple[Tensor, Tensor] | str:
        crop, resize = self.data.crop_size, self.data.eval_resize
        assert crop is not None and resize is not None
        crops = np.empty((len(places), crop, crop, 3), np.uint8)
        for i, place in enumerate(places):
            path = self.root / self.files.paths[place]
            try:
                crops[i] = decode.center_crop(path, crop, resize)
            except decode.DecodeError as error:
                return f"{path}: {error}"
        return torch.from_numpy(crops), torch.tensor([self.files.labels[p] for p in places])


class FolderLoader:
    """The training batches of one seed; of several processes, each has its share of every batch."""

    def __init__(
        self,
        dataset: ImageFolder,
        seed: int,
        batch_size: int,
        device: torch.device,
        workers: int,
        memory_format: torch.memory_format = torch.channels_last,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """`batch_size`: images of a whole batch, over all processes."""
        self.dataset, self.seed, self.num_images = dataset, seed, len(dataset.train)
        self.batch_size, self.rank, self.share = batch_size, rank, batch_size // world_size
        self.device, self.workers, self.memory_format = device, workers, memory_format
        self.crops = TrainCrops(dataset, seed)
        self.decoded: Generator[Any, None, None] | None = None
        """What the workers decode, from step `next_step` on."""
        self.next_step = self.last_step = -1

    def get_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (share, 3, crop, crop) float32 and labels (share,) int64 of a step.

        The workers decode ahead once two steps in a row were asked for. A step out of order is
        decoded in this process, and leaves them as they are.
        """
        if step != self.next_step and step == self.last_step + 1:
            self.close()
            self.decoded = decoded(self.crops, self.positions(step), self.workers, self.device)
            self.next_step = step
        self.last_step = step
        if self.decoded is None or step != self.next_step:
            batch = _checked(self.crops.__getitems__(next(self.positions(step))))
        else:
            batch = next(self.decoded)
            self.next_step += 1
        crops, shift, labels = (part.to(self.device, non_blocking=True) for part in batch)
        x = crops.float().div_(MAX_VALUE).add_(shift[:, None, None])
        return channels_first(x, self.memory_format), labels

    def positions(self, step: int) -> Iterator[range]:
        """The positions in the stream of this process's share of each batch, from a step on."""
        # No generator, which would hold the loader that holds it: its workers would only end at the
        # next garbage collection.
        first, share = step * self.batch_size + self.rank * self.share, self.share
        starts = itertools.count(first, self.batch_size)
        return (range(start, start + share) for start in starts)

    def digest(self) -> str:
        """SHA-256 over what fixes the batches beside the images."""
        sha = hashlib.sha256(f"batch {self.batch_size}".encode())
        first = min(self.num_images, 10_000)
        table = batch_table(self.seed, 0, first, self.num_images, 0, self.dataset.data.flip)
        drawn = draws(self.seed, 0, first)
        for column in (table.index, table.flip, drawn.side, drawn.top, drawn.left, drawn.lighting):
            sha.update(column.tobytes())
        return sha.hexdigest()

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
        device: torch.device,
        workers: int,
        memory_format: torch.memory_format = torch.channels_last,
        batch_size: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.crops = CenterCrops(dataset, files)
        self.device, self.workers, self.memory_format = device, workers, memory_format
        self.rank, self.world_size = rank, world_size
        self.batch_size = batch_size or (50 if device.type == "cpu" else 250)
        self.mean = torch.from_numpy(MEAN.astype(np.float32)).to(device)

    def __len__(self) -> int:
        return len(self.crops.files)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        size, count = self.batch_size, len(self)
        starts = range(self.rank * size, count, self.world_size * size)
        places = (range(start, min(start + size, count)) for start in starts)
        for batch in decoded(self.crops, places, self.workers, self.device):
            crops, labels = (part.to(self.device, non_blocking=True) for part in batch)
            x = crops.float().div_(MAX_VALUE).sub_(self.mean)
            yield channels_first(x, self.memory_format), labels


def decoded(
    dataset: Dataset[Any], batches: Iterable[Any], workers: int, device: torch.device
) -> Generator[Any, None, None]:
    """What the data set gives for each batch of places (a sequence of ints), in order, by
    `workers` processes.

    Raises DataError where an image can't be read, and RuntimeError where a worker has died.
    """
    options: dict[str, Any] = (
        {"prefetch_factor": PREFETCH, "worker_init_fn": leave_signals_to_parent} if workers else {}
    )
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_unchanged,
        # A copy from pinned memory doesn't hold up the host. Torch's allocator reuses such memory
        # only after an event has said that the copy is done.
        pin_memory=device.type == "cuda",
        # Else it would draw a number from the generator that everyone shares.
        generator=torch.Generator(),
        **options,
    )
    with signals_blocked():
        coming = iter(loader)
    try:
        while (batch := _next(coming)) is not None:
            yield _checked(batch)
    finally:
        # The workers end with their iterator; at the next garbage collection they would end in
        # whatever thread that runs, which would wait for them for seconds.
        del coming


def _next(coming: Iterator[Any]) -> Any:
    """What comes next, None at the end. Raises RuntimeError where a worker has died."""
    try:
        return next(coming, None)
    except (RuntimeError, OSError, EOFError) as error:  # whichever of them is noticed first
        raise RuntimeError(f"DataLoader worker died: {error}") from error


def _checked(batch: Any) -> Any:
    """A batch; raises DataError for a reason why there is none.

    The reason comes as a string, since an exception would arrive with two tracebacks.
    """
    if isinstance(batch, str):
        raise DataError(
            f"{batch}; restore the file, or move the run's folder away and list it in "
            "data.skip=FILE; `degradation data verify FOLDER` finds all such files"
        )
    return batch


def _unchanged(batch: Any) -> Any:
    return batch


class Faults(Dataset[str]):
    """Places in a list of paths → what is wrong with each of those images."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root, self.paths = root, paths

    def __getitems__(self, places: Sequence[int]) -> list[str]:
        return [decode.fault(self.root / self.paths[place]) for place in places]


def faults(root: Path, paths: Sequence[str], workers: int) -> Iterator[str]:
    """What is wrong with each image, found by decoding all of it; "" where nothing is."""
    places = (range(i, min(i + 32, len(paths))) for i in range(0, len(paths), 32))
    for found in decoded(Faults(root, paths), places, workers, torch.device("cpu")):
        yield from found


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
