"""Sources of pictures by name, behind one interface: `load(data)` gives a `Pictures`."""

from degradation.data import cifar10, digits
from degradation.data.pictures import DataError, Pictures
from degradation.spec import Data

__all__ = ["DataError", "Pictures", "load", "missing"]

SOURCES = {"cifar10": cifar10.load, "digits": digits.load}


def load(data: Data) -> Pictures:
    """The pictures that `data` names. Raises DataError where they are missing or damaged."""
    return SOURCES[data.name](data)


def missing(data: Data) -> str:
    """Why `load` would find nothing there, as far as a look at the folder tells; "" where it might.

    It takes no time, so that a study can say it before anything starts.
    """
    return cifar10.missing(data) if data.name == "cifar10" else ""
