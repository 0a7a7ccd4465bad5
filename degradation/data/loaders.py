"""The batches and exams of a data set, whichever kind it is: whole on the device, or streamed."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from degradation.config.schema import RunConfig
from degradation.data.dataset import ImageDataset
from degradation.data.device_loader import Exam, Stream
from degradation.data.image_folder import manifest
from degradation.data.image_folder.imagenet import Folder
from degradation.data.image_folder.loader import FolderExam, FolderStream, processes


class Batches(Protocol):
    """Training batches, as the engine takes them (see `batches.Stream`)."""

    device: torch.device
    length: int
    """Images that are trained on."""
    rows: int

    def load(self, first: int, count: int) -> None: ...
    def take(self, row: Tensor) -> tuple[Tensor, Tensor]: ...
    def batch(self, iteration: int) -> tuple[Tensor, Tensor]: ...
    def digest(self) -> str: ...
    def close(self) -> None: ...


class Exams(Protocol):
    """The images of an exam, with labels, in batches."""

    resident: bool
    """Whether all of them lie on the device, so that the exam can be recorded."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


def stream(
    source: ImageDataset | Folder,
    config: RunConfig,
    device: torch.device,
    workers: int | str,
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
    """The training batches of `run`, or this process's share of each."""
    if isinstance(source, Folder):
        count = processes(workers, device)
        return FolderStream(
            source, config.seed, config.recipe.batch_size, device, count, rank, world_size
        )
    return Stream(
        source, config.data, config.seed, config.recipe.batch_size, device, rank, world_size
    )


def exams(
    source: ImageDataset | Folder,
    device: torch.device,
    workers: int | str,
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, Exams]:
    """By the prefix of their columns: test, perhaps validation, train for the clean error."""
    found = {
        name: exam(source, name, device, workers, rank=rank, world_size=world_size)
        for name in ("test", "validation", "train")
    }
    return {name: one for name, one in found.items() if len(one)}


def exam(
    source: ImageDataset | Folder,
    name: str,
    device: torch.device,
    workers: int | str,
    size: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Exams:
    """One of them; a folder's `train` is a sample of it. `size`: images of a batch."""
    if isinstance(source, Folder):
        files = {"test": source.test, "validation": manifest.NONE, "train": source.clean}
        return FolderExam(
            files[name], source, device, processes(workers, device), size, rank, world_size
        )
    splits = {"test": source.test, "validation": source.held_out, "train": source.train}
    return Exam(splits[name], source, device, size, rank, world_size)
