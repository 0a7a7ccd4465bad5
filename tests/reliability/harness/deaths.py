"""Six ways for a run of a sweep to die, by its arm and seed; each before its third step."""

import ctypes
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from degradation.training import loop

from .moments import at_step, kill


def raise_exception() -> None:
    raise RuntimeError("a fault of the run's own")


def use_all_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    torch.zeros(2**28)


def diverge() -> None:
    """From the next step on."""
    loop.learning_rate = lambda *args: 1e30


DEATHS: dict[tuple[str, int], tuple[Callable[[], object], str]] = {
    ("plain", 0): (raise_exception, "a fault of the run's own"),
    ("plain", 1): (lambda: sys.exit(0), "left with status 0 and no result"),
    ("plain", 2): (kill, "SIGKILL"),
    ("residual", 0): (lambda: ctypes.string_at(0), "SIGSEGV"),
    ("residual", 1): (use_all_memory, "memory"),
    ("residual", 2): (diverge, "diverged"),
}
"""By arm and seed: what happens, and the words that the command must print of it."""


def prepare_death(name: str) -> None:
    """In a worker that trains the run of this name: let it die if it is one of DEATHS."""
    if (match := re.match(r"digits-(\w+)-\d+-s(\d+)-", name)) is None:
        return
    if death := DEATHS.get((match[1], int(match[2]))):
        at_step(death[0], 3)()
