"""Batches from a folder of images: decoded by processes ahead of time, coloured on the device.

What a batch holds is a function of its number, as in `batches`: the processes are told which file,
which scale and which corner, and no random state is anywhere; their number changes nothing but
speed, and any iteration is begun at once. They hand over the crops as bytes. On the device, batch
by batch: mirrored, scaled to [0, 1], the mean colour subtracted, the colour noise added.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degradation.config.schema import Data
from degradation.data.dataset import DataError
from degradation.data.device_loader import send
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import Folder
from degradation.data.image_folder.manifest import Files
from degradation.data.image_folder.parallel_map import cores, leave_signals_to_parent
from degradation.data.order import Draws, Table, batch_table, draws
from degradation.system.signals import held_back

AHEAD = 2  # batches that each process may be ahead
ROWS = 8  # batches that lie on a GPU, at most: those of one recording (engine.unroll)
ROOM = 2**29  # bytes, at most, that they take
WHITE = 255
NOISE = 0.1  # of the eigenvalues (Krizhevsky et al. 2012, Sec. 4.1)

Drawn = tuple[int, int, int]
"""64 random bits each, for the shorter side and the corner."""
Job = tuple[int, Drawn | None]
"""A file, by its place in the list, and what is drawn for it; None: its centre, for a test."""


class Crops(Dataset[Any]):
    """The crops that jobs describe; lives in the processes that decode."""

    def __init__(self, root: Path, paths: tuple[str, ...], data: Data) -> None:
        self.root, self.paths, self.data = root, paths, data

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, job: Job) -> decode.Bytes:
        index, drawn = job
        data, path = self.data, self.root / self.paths[index]
        assert data.crop_size is not None and data.eval_resize is not None
        if drawn is None:
            return decode.centre_view(path, data.crop_size, data.eval_resize)
        return decode.training_view(path, data.crop_size, data.resize_range, data.draft, drawn)

    def __getitems__(self, jobs: list[Job]) -> Tensor | str:
        """A batch of bytes (batch, crop, crop, 3), or why there is none: an exception would come
        out of another process with two tracebacks for a message."""
        side = self.data.crop_size
        assert side is not None
        out = np.empty((len(jobs), side, side, 3), np.uint8)
        for row, job in enumerate(jobs):
            try:
                out[row] = self[job]
            except decode.Unreadable as error:
                return f"{self.root / self.paths[job[0]]}: {error}"
        return torch.from_numpy(out)


def batches(crops: Crops, jobs: Iterable[list[Job]], workers: int) -> Generator[Tensor, None, None]:
    """The crops of each list of jobs, in order. Raises DataError where one can't be read, and
    RuntimeError where a process that decodes has died."""
    ahead = {"prefetch_factor": AHEAD, "worker_init_fn": leave_signals_to_parent} if workers else {}
    loading: DataLoader[Any] = DataLoader(
        crops,
        batch_sampler=jobs,
        num_workers=workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # it asks for a number, and gets it from nobody else's
        **ahead,  # type: ignore[arg-type]
    )
    with held_back():
        coming = iter(loading)
    try:
        while (found := _next(coming)) is not None:
            if isinstance(found, str):
                raise DataError(
                    f"{found}; restore the file, or move the run's folder away and list it in "
                    "data.skip=FILE: degradation data verify "
                    f"{crops.root} finds all"
                )
            yield found
    finally:
        del coming  # now: a collector that finds it, in whatever thread, waits for seconds


def _next(coming: Iterator[Tensor | str]) -> Tensor | str | None:
    """What comes next, None at the end. Raises RuntimeError where a process has died."""
    try:
        return next(coming, None)
    except (RuntimeError, OSError, EOFError) as error:  # whichever notices first
        raise RuntimeError(f"DataLoader worker died: {error}") from error


def _as_it_is(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class Order:
    """What each iteration's batch is made of, or a process's share of it.

    Apart from the stream: processes that held the stream itself would keep each other alive until
    the collector came by, which ends them in seconds, in the middle of anything.
    """

    seed: int
    whole: int
    size: int
    rank: int
    length: int
    flip: bool

    def _start(self, iteration: int) -> int:
        return iteration * self.whole + self.rank * self.size

    def table(self, iteration: int) -> Table:
        start = self._start(iteration)
        return batch_table(self.seed, start, self.size, self.length, 0, self.flip)

    def drawn(self, iteration: int) -> Draws:
        return draws(self.seed, self._start(iteration), self.size)

    def jobs(self, iteration: int) -> list[Job]:
        drawn = self.drawn(iteration)
        found = (self.table(iteration).index, drawn.side, drawn.top, drawn.left)
        columns = (column.tolist() for column in found)
        return [(i, (side, top, left)) for i, side, top, left in zip(*columns, strict=True)]

    def jobs_from(self, iteration: int) -> Iterator[list[Job]]:
        while True:
            yield self.jobs(iteration)
            iteration += 1


class FolderStream:
    """The training batches of one seed, with what `batches.Stream` has: images (batch, 3, crop,
    crop) float32, labels (batch,) int64, on `device`.

    `load` moves decoded batches to the device, `take` gives one of them finished.
    """

    def __init__(
        self,
        source: Folder,
        seed: int,
        batch: int,
        device: torch.device,
        workers: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        data = source.data
        assert data.crop_size is not None
        self.seed, self.length = seed, len(source.train)
        self.whole, self.size = batch, batch // world_size
        """Images in a batch, and in this process's share."""
        self.device, self.workers, self.data = device, workers, data
        self.order = Order(seed, batch, self.size, rank, self.length, data.flip)
        self.crops = Crops(source.manifest.root, source.train.paths, data)
        self.classes = np.array(source.train.labels, np.int64)
        one = self.size * data.crop_size**2 * 3
        # A CPU takes them as they come; a recording takes several before the host is asked again.
        self.rows = max(1, min(ROWS, ROOM // one)) if device.type == "cuda" else 1
        """Iterations for which the tables have room."""

        def rows(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros((self.rows, self.size, *shape), dtype=dtype, device=device)

        self.bytes = rows(data.crop_size, data.crop_size, 3, dtype=torch.uint8)
        self.labels = rows(dtype=torch.int64)
        self.flip = rows(1, 1, 1, dtype=torch.bool)
        self.shift = rows(1, 1, 3, dtype=torch.float32)
        self.colour = Shift(source)
        self.coming: Generator[Tensor, None, None] | None = None
        self.next = -1
        """The iteration whose batch `coming` has next."""

    def load(self, first: int, count: int) -> None:
        """Move the batches of `count` iterations, at most `rows`, from iteration `first` on."""
        if self.coming is None or self.next != first:
            self.close()
            self.coming = batches(self.crops, self.order.jobs_from(first), self.workers)
        for row in range(count):
            self._fill(row, first + row, next(self.coming))
        self.next = first + count

    def close(self) -> None:
        """End the processes."""
        if self.coming is not None:
            self.coming.close()
            self.coming = None

    def _fill(self, row: int, iteration: int, crops: Tensor) -> None:
        table = self.order.table(iteration)
        noise = self.order.drawn(iteration).colour if self.data.pca_lighting else None
        send(crops.numpy(), self.bytes[row])
        send(self.classes[table.index], self.labels[row])
        send(table.flip[:, None, None, None], self.flip[row])
        send(self.colour.of(noise, self.size)[:, None, None], self.shift[row])

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """One iteration's batch, decoded here. It takes the first row, as `batches.Stream` does."""
        crops = self.crops.__getitems__(self.order.jobs(iteration))
        if isinstance(crops, str):
            raise DataError(crops)
        self._fill(0, iteration, crops)
        return self.take(torch.zeros(1, dtype=torch.int64, device=self.device))

    def take(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """The batch in row `row` of the tables, an int64 tensor of shape (1,) on the device."""
        tables = (self.bytes, self.labels, self.flip, self.shift)
        images, labels, flip, shift = (rows.index_select(0, row)[0] for rows in tables)
        if self.data.flip:
            images = torch.where(flip, images.flip(2), images)
        x = images.float().div_(WHITE).add_(shift)
        return x.permute(0, 3, 1, 2), labels

    def digest(self) -> str:
        """SHA-256 over what fixes the stream beside the images."""
        sha = hashlib.sha256(f"batch {self.whole}".encode())
        first = min(self.length, 10_000)
        table = batch_table(self.seed, 0, first, self.length, 0, self.data.flip)
        drawn = draws(self.seed, 0, first)
        for column in (table.index, table.flip, drawn.side, drawn.top, drawn.left, drawn.colour):
            sha.update(column.tobytes())
        return sha.hexdigest()


class Shift:
    """What is added to a image's colours: the noise less the mean."""

    def __init__(self, source: Folder) -> None:
        colour = source.colour
        self.mean = np.array(colour.mean)
        self.axes = NOISE * np.array(colour.eigenvalues)[:, None] * np.array(colour.eigenvectors)

    def of(self, noise: Any, count: int) -> Any:
        """(count, 3) float32, white being 1; `noise`: normal numbers (count, 3), or none."""
        shift = np.tile(-self.mean, (count, 1))
        for axis in range(3 if noise is not None else 0):  # a matrix product's bits vary by library
            shift += noise[:, axis, None] * self.axes[axis]
        return shift.astype(np.float32)


class FolderExam:
    """Images as the network is tested on them: each once, its centre, in order; of several
    processes, each has every so many batches."""

    resident = False

    def __init__(
        self,
        files: Files,
        source: Folder,
        device: torch.device,
        workers: int,
        size: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.crops = Crops(source.manifest.root, files.paths, source.data)
        self.labels = torch.tensor(files.labels, dtype=torch.int64)
        self.shift = torch.from_numpy(Shift(source).of(None, 1)).to(device)
        self.device, self.workers = device, workers
        self.size = size or (50 if device.type == "cpu" else 250)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        step = self.world_size * self.size
        starts = range(self.rank * self.size, len(self), step)
        jobs: Iterator[list[Job]] = (
            [(i, None) for i in range(s, min(s + self.size, len(self)))] for s in starts
        )
        for start, crops in zip(starts, batches(self.crops, jobs, self.workers), strict=True):
            x = crops.to(self.device).float().div_(WHITE).add_(self.shift)
            yield x.permute(0, 3, 1, 2), self.labels[start : start + self.size].to(self.device)


def processes(asked: int | str, device: torch.device) -> int:
    """How many decode for a run: all cores but one; where the network itself needs them, one."""
    if isinstance(asked, int):
        return asked
    return max(1, min(16, cores() - 1)) if device.type == "cuda" else 1
