"""Storage's calls to the kernel, counted, so that something can happen before the k-th."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "close",
    "replace",
    "unlink",
    "truncate",
    "ftruncate",
    "mkdir",
)


def before(k: int, act: Callable[[], None]) -> "Counter":
    """Call `act` before the k-th operation (from 1) that `degradation.system.files` does."""
    counter = Counter(k, act)
    for name in NAMES:
        setattr(os, name, counter.counted(name))
    return counter


@contextmanager
def acting(k: int, act: Callable[[], None]) -> Iterator["Counter"]:
    """`before`, in this process, for a while."""
    real = {name: getattr(os, name) for name in NAMES}
    try:
        yield before(k, act)
    finally:
        for name, function in real.items():
            setattr(os, name, function)


class Counter:
    def __init__(self, k: int, act: Callable[[], None]) -> None:
        self.k, self.act, self.names = k, act, list[str]()

    def counted(self, name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def operation(*args: object, **named: object) -> object:
            if from_storage():
                self.names.append(name)
                if len(self.names) == self.k:
                    self.act()
            return real(*args, **named)

        return operation


def from_storage() -> bool:
    """Whether storage called, itself or through pathlib."""
    frame = sys._getframe(2)
    for _ in range(3):
        if frame.f_globals.get("__name__") == "degradation.system.files":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def kill() -> None:
    """As the kernel does it: no handler, no `finally`."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> Callable[[], None]:
    """Raise the OSError of errno `number`."""

    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


REFUSALS = {errno.errorcode[n]: n for n in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)}
