"""Being asked to stop.

A process holds the signals back, and so do those that it starts, each until it listens: whoever is
still importing torch hears of a Ctrl-C a moment later, instead of dying with a traceback.

Before training, the first signal ends what is going on: there is nothing to save. In training it
sets a flag, which is polled at every batch; a second one, more than a moment later, ends at once.
That is safe at any time, since storage never leaves half a file under a name.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


SAME_REQUEST = 1.0  # a terminal and a parent both pass Ctrl-C on: within a second, it is one


def asks() -> list[int]:
    """ASKS, less SIGHUP where nohup has it ignored: then training is to outlive the terminal."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in ASKS if not (ignored and number == signal.SIGHUP)]


def hold_back() -> None:
    """Let the signals wait, here and in the threads and processes that are started from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, asks())


@contextmanager
def held_back() -> Iterator[None]:
    """For a moment: processes started within hear none until they say otherwise."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, asks())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stopped(BaseException):
    """The process was asked to stop, and everything is saved that there was to save."""


class Stop:
    """`stop()` is true once a signal came; `stop.signal` says which."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at = -math.inf
        self.polled = False
        """Whether someone looks; else the signal itself raises Stopped."""

    def listen(self) -> "Stop":
        """Hear every signal from now on, and those that were held back. Raises Stopped for them."""
        for number in asks():
            signal.signal(number, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, asks())
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self.at < SAME_REQUEST:
            return
        if self.signal is not None:
            os._exit(128 + number)
        self.signal, self.at = number, time.monotonic()
        if not self.polled:
            raise Stopped

    def __call__(self) -> bool:
        self.polled = True
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that tells a shell which signal it was: SIGTERM, where another process of
        the run heard it."""
        return 128 + (self.signal or signal.SIGTERM)


def end_with_parent() -> None:
    """Get SIGTERM when the process that started this one dies, even by SIGKILL. Linux alone."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
