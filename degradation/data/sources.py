"""The data sets by name: `load(data)` gives an `ImageDataset` in memory, or an `ImageFolder`."""

from collections.abc import Callable

from degradation.config.schema import Data
from degradation.data import cifar10, digits
from degradation.data.dataset import ImageDataset
from degradation.data.image_folder import imagenet
from degradation.data.image_folder.manifest import ImageFolder

Source = ImageDataset | ImageFolder
"""Images, and what a network must know of them: `channels`, `classes`, and a `digest`."""
SOURCES: dict[str, Callable[[Data], Source]] = {
    "cifar10": cifar10.load,
    "digits": digits.load,
    "imagenet": imagenet.load,
}
MISSING = {"cifar10": cifar10.missing, "imagenet": imagenet.missing}


def load(data: Data) -> Source:
    """The images that `data` names. Raises DataError where they are missing or damaged."""
    return SOURCES[data.name](data)


def missing(data: Data) -> str:
    """Why `load` would find nothing, as far as names and sizes of files tell; "" where it might.

    It takes at most seconds, for a million files, so a study can check it before anything starts.
    """
    return MISSING[data.name](data) if data.name in MISSING else ""
