"""Sources of images by name, behind one interface: `load(data)` gives a `ImageDataset`, or a `Folder`
of them that is too large for memory."""

from collections.abc import Callable

from degradation.config.schema import Data
from degradation.data import cifar10, digits
from degradation.data.dataset import ImageDataset
from degradation.data.image_folder import imagenet
from degradation.data.image_folder.imagenet import Folder

SOURCES: dict[str, Callable[[Data], ImageDataset | Folder]] = {
    "cifar10": cifar10.load,
    "digits": digits.load,
    "imagenet": imagenet.load,
}
MISSING = {"cifar10": cifar10.missing, "imagenet": imagenet.missing}


def load(data: Data) -> ImageDataset | Folder:
    """The images that `data` names. Raises DataError where they are missing or damaged."""
    return SOURCES[data.name](data)


def missing(data: Data) -> str:
    """Why `load` would find nothing there, as far as a look at the folder tells; "" where it might.

    It takes no time, or seconds for a million files, so that a study can say it before anything
    starts.
    """
    return MISSING[data.name](data) if data.name in MISSING else ""
