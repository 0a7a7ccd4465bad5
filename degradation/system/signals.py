"""Requests to stop: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a lost terminal).

A process blocks these signals until it has installed a handler, and so do the processes that it
starts: one that is still importing torch hears of a Ctrl-C a moment later, instead of dying with a
traceback. Before training, the first signal ends the process: there is nothing to save. In training
it sets a flag, which is polled at every batch; a second signal, more than a second later, ends the
process at once. That is safe at any time, since no file is ever half written under its name.
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

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME_REQUEST = 1.0  # seconds: a terminal and a parent process both pass one Ctrl-C on


def stop_signals() -> list[int]:
    """STOP_SIGNALS, without SIGHUP under nohup: training is to outlive the terminal then."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in STOP_SIGNALS if not (ignored and number == signal.SIGHUP)]


def block_signals() -> None:
    """Keep the signals pending, also in the threads and processes that are started from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes that are started inside keep the signals pending until they install a handler."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
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
        """Whether someone polls; otherwise the signal itself raises Stopped."""

    def listen(self) -> "Stop":
        """Handle every signal from now on, pending ones too. Raises Stopped for those."""
        for number in stop_signals():
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
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
        """The exit status that tells a shell which signal it was; that of SIGTERM where another
        process of the run received it."""
        return 128 + (self.signal or signal.SIGTERM)


def end_with_parent() -> None:
    """Get SIGTERM when the process that started this one dies, even by SIGKILL. Linux only."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def signal_name(number: int) -> str:
    """SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
