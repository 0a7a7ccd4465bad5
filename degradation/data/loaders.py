"""The batches of a data set, whichever kind it is: whole on the device, or decoded from files.

A loader of training batches and one of an evaluation set give images (n, channels, height, width)
float32 in the memory format of their placement, and labels (n,) int64, both on its device.
"""

from degradation.config.schema import RunConfig
from degradation.data.device_loader import DeviceEvalLoader, DeviceLoader, Placement
from degradation.data.image_folder.loader import FolderEvalLoader, FolderLoader
from degradation.data.image_folder.manifest import ImageFolder
from degradation.data.sources import Source

TrainLoader = DeviceLoader | FolderLoader
EvalLoader = DeviceEvalLoader | FolderEvalLoader


def train_loader(dataset: Source, config: RunConfig, place: Placement) -> TrainLoader:
    """The training batches of a run, or this process's share of each."""
    if isinstance(dataset, ImageFolder):
        return FolderLoader(dataset, config, place)
    return DeviceLoader(dataset, config, place)


def eval_loaders(dataset: Source, config: RunConfig, place: Placement) -> dict[str, EvalLoader]:
    """By the prefix of their columns: test, validation if there is one, and train."""
    names = ("test", "validation", "train") if config.data.val_size else ("test", "train")
    return {name: eval_loader(dataset, name, config, place) for name in names}


def eval_loader(
    dataset: Source, name: str, config: RunConfig, place: Placement, batch_size: int | None = None
) -> EvalLoader:
    """One of train, validation and test; of a folder's training images, `train` is a sample."""
    if isinstance(dataset, ImageFolder):
        files = dataset.train_eval if name == "train" else dataset.test
        return FolderEvalLoader(dataset, files, config.data, place, batch_size)
    return DeviceEvalLoader(dataset, name, place, batch_size)
