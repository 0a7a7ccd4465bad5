"""Being asked to stop: the first signal sets a flag that training polls, a second one ends at once.

Ending at once is safe, since storage never leaves half a file under a name.
"""

import ctypes
import os
import signal
import sys
from types import FrameType

ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """`stop()` is true once a signal came; `stop.signal` says which."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def listen(self) -> "Stop":
        for number in ASKS:
            signal.signal(number, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that tells a shell which signal it was."""
        return 128 + (self.signal or 0)


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
