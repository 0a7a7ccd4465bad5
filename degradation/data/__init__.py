"""Sources of pictures by name, behind one interface: `load(data)` gives a `Pictures`."""

from degradation.data import cifar10, digits
from degradation.data.pictures import DataError, Pictures
from degradation.spec import Data

__all__ = ["DataError", "Pictures", "load"]

SOURCES = {"cifar10": cifar10.load, "digits": digits.load}


def load(data: Data) -> Pictures:
    """The pictures that `data` names. Raises DataError where they are missing or damaged."""
    return SOURCES[data.name](data)
