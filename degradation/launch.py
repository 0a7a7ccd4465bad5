"""Run one point to its end in a process of its own, and mirror its rows meanwhile.

The point's process may run out of memory, be killed or crash: the reason is left in its folder, and
whoever runs the study goes on with the next point.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from degradation import spec, storage
from degradation.mirror import Mirror
from degradation.signals import ASKS, name
from degradation.spec import Settings
from degradation.store import Foreign, Run

log = logging.getLogger("degradation")

POLL = 0.25  # seconds between two looks at the process and its rows
BUSY = 75


class Interrupted(BaseException):
    """The study was asked to stop by a signal, and the running point has saved its state."""

    def __init__(self, number: int) -> None:
        super().__init__(name(number))
        self.number = number


def train_point(settings: Settings) -> None:
    """Bring the point's folder to its result, or leave the reason there. Raises Interrupted."""
    point = settings.point
    run = Run.of(point, settings.machine.runs)
    if run.result() is not None:
        log.info("%s is done", run.name)
        return
    try:
        run.create(point)
    except (Foreign, OSError) as error:
        log.error("%s: %s", run.name, error)
        return
    with Children() as children:
        process = children.start(command(run, settings), environment(settings.machine.threads))
        with Mirror(run, settings) as mirror:
            while process.poll() is None:
                mirror.sync()
                time.sleep(POLL)
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


class Children:
    """Passes signals on to the process it started, waits until that has saved, and stops."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.heard: int | None = None

    def __enter__(self) -> "Children":
        self.before = {number: signal.signal(number, self._hear) for number in ASKS}
        return self

    def start(self, words: list[str], env: dict[str, str]) -> "subprocess.Popen[bytes]":
        self.process = subprocess.Popen(words, env=env)
        if self.heard is not None:
            self.process.send_signal(self.heard)
        return self.process

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = number
        # A terminal sends Ctrl-C to the whole group; twice would end the process at once.
        from_terminal = number == signal.SIGINT and sys.stdin.isatty()
        if self.process is not None and self.process.poll() is None and not from_terminal:
            self.process.send_signal(number)

    def __exit__(self, *exception: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.heard is not None:
            raise Interrupted(self.heard)


def _note_end(run: Run, status: int) -> None:
    """Say how the point's process ended, and leave in the folder what it could not leave itself."""
    if run.result() is not None:
        return
    if status == BUSY:
        log.warning("%s is being trained by another process: left to it", run.name)
        return
    if status < 0:
        memory = "; often the system is out of memory" if status == -signal.SIGKILL else ""
        message = f"its process was ended by {name(-status)}{memory}"
        _fail(run, name(-status), message)
    elif run.failure() is None and status < 128:
        _fail(run, "exited early", f"its process left with status {status} and no result")
    if failure := run.failure():
        log.error("%s failed: %s", run.name, failure["message"])


def _fail(run: Run, kind: str, message: str) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    storage.write_json(run.failed_json, {"kind": kind, "message": message, "at": at})
