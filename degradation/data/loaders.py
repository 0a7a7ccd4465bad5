"""The batches of a data set, whichever kind it is: whole on the device, or decoded from files."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from degradation.config.schema import RunConfig
from degradation.data.dataset import ImageDataset
from degradation.data.device_loader import DeviceEvalLoader, DeviceLoader, memory_format
from degradation.data.image_folder.imagenet import ImageFolder
from degradation.data.image_folder.loader import FolderEvalLoader, FolderLoader, num_workers


class TrainLoader(Protocol):
    """Training batches; each is a pure function of seed and step."""

    num_images: int
    """Images that are trained on."""

    def get_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images (share of the batch, channels, height, width) float32 in the memory format of the
        numerics, and labels (share of the batch,) int64, on the device."""

    def digest(self) -> str:
        """SHA-256 over what fixes the batches beside the images."""

    def close(self) -> None:
        """End the processes that decode, where there are some."""


class EvalLoader(Protocol):
    """An evaluation set in batches as `TrainLoader` has them: every image once, without
    augmentation; of several processes, each has every so many batches."""

    def __len__(self) -> int:
        """Images, over all processes."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


def train_loader(
    dataset: ImageDataset | ImageFolder,
    config: RunConfig,
    device: torch.device,
    workers: int | str,
    rank: int = 0,
    world_size: int = 1,
) -> TrainLoader:
    """The training batches of a run, or this process's share of each."""
    if isinstance(dataset, ImageFolder):
        processes = num_workers(workers, device)
        return FolderLoader(dataset, config, device, processes, rank, world_size)
    return DeviceLoader(dataset, config, device, rank, world_size)


def eval_loaders(
    dataset: ImageDataset | ImageFolder,
    config: RunConfig,
    device: torch.device,
    workers: int | str,
    rank: int = 0,
    world_size: int = 1,
) -> dict[str, EvalLoader]:
    """By the prefix of their columns: test, validation if there is one, and train."""
    return {
        name: eval_loader(dataset, name, config, device, workers, None, rank, world_size)
        for name in ("test", "validation", "train")
        if name != "validation" or config.data.val_size
    }


def eval_loader(
    dataset: ImageDataset | ImageFolder,
    name: str,
    config: RunConfig,
    device: torch.device,
    workers: int | str,
    batch_size: int | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> EvalLoader:
    """One of train, validation and test; of a folder's training images, `train` is a sample."""
    layout = memory_format(config.numerics)
    if isinstance(dataset, ImageFolder):
        files = dataset.train_eval if name == "train" else dataset.test
        processes = num_workers(workers, device)
        return FolderEvalLoader(
            dataset, files, device, processes, layout, batch_size, rank, world_size
        )
    return DeviceEvalLoader(dataset, name, device, layout, batch_size, rank, world_size)
