"""Requests to stop, passed on to the processes that train, so that they save first."""

import math
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from multiprocessing import resource_tracker

from degradation.system.signals import SAME_REQUEST, block_signals, stop_signals

POLL = 0.25  # seconds between two searches for processes that a launcher started


class Interrupted(BaseException):
    """The study was asked to stop by a signal, and the runs in progress have saved their state."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopping:
    """Passes a signal on to the processes that train, also to those that a launcher started."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at = -math.inf
        self.processes: list[subprocess.Popen[bytes]] = []
        self.listener: threading.Thread | None = None
        self.parent = os.getppid()

    def listen(self) -> None:
        """Receive the signals in a thread of its own; they interrupt nothing here."""
        # It unblocks signals once it has started (Python 3.11), so it must have by now.
        resource_tracker.ensure_running()
        block_signals()
        if threading.current_thread() is threading.main_thread():
            # Threads that numpy started before have the signals unblocked, and would end us.
            for number in stop_signals():
                signal.signal(number, lambda number, frame: self.receive(number))
        if self.listener is None:
            self.listener = threading.Thread(target=self._listen, name="signals", daemon=True)
            self.listener.start()

    def _listen(self) -> None:
        wanted = stop_signals()
        while True:
            self.receive(signal.sigwait(wanted))
            if not self.processes:
                self.leave_if_orphaned()

    def receive(self, number: int) -> None:
        """Take note of a signal, and pass it on."""
        if time.monotonic() - self.at < SAME_REQUEST:
            return
        self.signal, self.at = number, time.monotonic()
        for process in self.processes:
            process.send_signal(number)
        threading.Thread(target=self._tell_pool, args=[number], daemon=True).start()

    def _tell_pool(self, number: int) -> None:
        """Pass it on to a launcher's processes, also to those that it has yet to start."""
        reached = set[int]()
        while True:
            for child in multiprocessing.active_children():
                if child.pid is not None and child.pid not in reached:
                    reached.add(child.pid)
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, number)
            time.sleep(POLL)

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass signals on to `process`, also one that came while it was being started."""
        self.processes.append(process)
        if self.signal is not None:
            process.send_signal(self.signal)

    def leave_if_orphaned(self) -> None:
        """End this process of a launcher if the launcher is gone: no one else would."""
        if in_a_pool() and os.getppid() != self.parent:
            os._exit(128 + (self.signal or signal.SIGTERM))

    def check(self) -> None:
        """Raise Interrupted once asked to stop."""
        if self.signal is not None:
            raise Interrupted(self.signal)


def in_a_pool() -> bool:
    """Whether a launcher started this process to train one run after the other."""
    return multiprocessing.current_process().name != "MainProcess"


stopping = Stopping()
