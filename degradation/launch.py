"""Run one point to its end in a process of its own, and mirror its rows meanwhile.

The point's process may run out of memory, be killed or crash: the reason is left in its folder, and
whoever runs the study goes on with the next point.
"""

import json
import logging
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import resource_tracker

from degradation import spec, storage
from degradation.mirror import Mirror
from degradation.signals import SAME_REQUEST, asks, end_with_parent, hold_back, name
from degradation.spec import Settings
from degradation.store import Foreign, Run

log = logging.getLogger("degradation")

POLL = 0.25  # seconds between two looks at the process and its rows
BUSY, STORAGE = 75, 5


class Interrupted(BaseException):
    """The study was asked to stop by a signal, and the running point has saved its state."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopping:
    """Passes a signal on to the point's process, and to processes that run other points."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at = -math.inf
        self.process: subprocess.Popen[bytes] | None = None
        self.listener: threading.Thread | None = None
        self.parent = os.getppid()

    def listen(self) -> None:
        """Hear the signals in a thread of its own; they interrupt nothing here."""
        # It lets signals through once it has started (Python 3.11), so it must have by now.
        resource_tracker.ensure_running()
        hold_back()
        if self.listener is None:
            self.listener = threading.Thread(target=self._listen, name="signals", daemon=True)
            self.listener.start()

    def _listen(self) -> None:
        wanted = asks()
        while True:
            self.hear(signal.sigwait(wanted))
            if self.process is None:
                self.leave_if_orphaned()

    def hear(self, number: int) -> None:
        """Take note of a signal, and pass it on."""
        if time.monotonic() - self.at < SAME_REQUEST:
            return
        self.signal, self.at = number, time.monotonic()
        if self.process is not None:
            self.process.send_signal(number)
        threading.Thread(target=self._tell_pool, args=[number], daemon=True).start()

    def _tell_pool(self, number: int) -> None:
        """Tell a parallel launcher's processes, those included that it has yet to start."""
        told = set[int | None]()
        while True:
            for child in multiprocessing.active_children():
                if child.pid is not None and child.pid not in told:
                    told.add(child.pid)
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, number)
            time.sleep(POLL)

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass signals on to `process`; the one that came while it was being started, too."""
        self.process = process
        if self.signal is not None:
            process.send_signal(self.signal)

    def leave_if_orphaned(self) -> None:
        """End this process of a parallel launcher, if that is gone: no one else would."""
        if _in_a_pool() and os.getppid() != self.parent:
            os._exit(128 + (self.signal or signal.SIGTERM))

    def check(self) -> None:
        """Raise Interrupted once asked to stop."""
        if self.signal is not None:
            raise Interrupted(self.signal)


stopping = Stopping()


def train_point(settings: Settings) -> None:
    """Bring the point's folder to its result, or leave the reason there.

    Raises Interrupted when the study is to stop. In a process of a parallel launcher it returns
    instead, at once for every further point, so that the launcher ends without killing the others.
    """
    if _in_a_pool():
        stopping.listen()
        end_with_parent()
    try:
        stopping.check()
        _train(settings)
        stopping.check()
    except Interrupted:
        if not _in_a_pool():
            raise
    stopping.leave_if_orphaned()


def _in_a_pool() -> bool:
    """Whether a parallel launcher started this process to run points."""
    return multiprocessing.current_process().name != "MainProcess"


def _train(settings: Settings) -> None:
    run = Run.of(settings.point, settings.machine.runs)
    if run.result() is not None:
        log.info("%s is done", run.name)
        return
    try:
        run.create(settings.point)
    except (Foreign, storage.Failed) as error:
        log.error("%s: %s", run.name, error)
        return
    # A session of its own: the terminal's Ctrl-C reaches it once, through us.
    process = subprocess.Popen(
        command(run, settings),
        env=environment(settings.machine.threads),
        start_new_session=True,
    )
    stopping.watch(process)
    with Mirror(run, settings) as mirror:
        while process.poll() is None:
            mirror.sync()
            time.sleep(POLL)
    stopping.process = None
    _note_end(run, process.returncode)


def command(run: Run, settings: Settings) -> list[str]:
    """The command that trains the point of `run`."""
    machine = spec.plain(settings.machine)
    if machine["progress"] == "auto":
        machine["progress"] = "bar" if sys.stderr.isatty() else "lines"
    return [sys.executable, "-m", "degradation.worker", str(run.folder), json.dumps(machine)]


def environment(threads: int) -> dict[str, str]:
    """What a process that trains must find in its environment before it imports torch."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
    }


def _note_end(run: Run, status: int) -> None:
    """Say how the point's process ended, and leave in the folder what it could not leave itself."""
    if run.result() is not None:
        return
    if status == BUSY:
        log.warning("%s is being trained by another process: left to it", run.name)
        return
    if status < 0 and stopping.signal is None:
        memory = "; often the system is out of memory" if status == -signal.SIGKILL else ""
        _fail(run, name(-status), f"its process was ended by {name(-status)}{memory}")
    elif run.failure() is None and 0 <= status < 128 and status != STORAGE:
        _fail(run, "exited early", f"its process left with status {status} and no result")
    if failure := run.failure():
        log.error("%s failed: %s", run.name, failure["message"])


def _fail(run: Run, kind: str, message: str) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        storage.write_json(run.failed_json, {"kind": kind, "message": message, "at": at})
    except storage.Failed as error:
        log.error("%s: %s (%s)", run.name, message, error)
