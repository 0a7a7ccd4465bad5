"""Six ways for a run to die in a sweep, by its arm and seed; each in its third step."""

import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Callable

import torch

from degradation.training import loop

from .moments import Moment


def an_exception() -> None:
    raise RuntimeError("a fault of the run's own")


def an_early_exit() -> None:
    sys.exit(0)


def a_kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def a_crash() -> None:
    ctypes.string_at(0)


def no_memory() -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    torch.zeros(2**28)


def divergence() -> None:
    """From the step that is about to be taken."""
    loop.learning_rate = lambda *args: 1e30


DEATHS: dict[tuple[str, int], tuple[Callable[[], None], str]] = {
    ("plain", 0): (an_exception, "a fault of the run's own"),
    ("plain", 1): (an_early_exit, "left with status 0 and no result"),
    ("plain", 2): (a_kill, "SIGKILL"),
    ("residual", 0): (a_crash, "SIGSEGV"),
    ("residual", 1): (no_memory, "memory"),
    ("residual", 2): (divergence, "diverged"),
}
"""By arm and seed: what happens, and the word that must be said of it."""


def await_death(name: str) -> None:
    """In a worker: let the run of this name die, if that is its lot."""
    if (found := re.match(r"digits-(\w+)-\d+-s(\d+)-", name)) is None:
        return
    if death := DEATHS.get((found[1], int(found[2]))):
        Moment("step", 3, 1).strike(death[0])
