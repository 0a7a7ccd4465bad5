"""Run one run to its end in a process of its own, while another one mirrors its rows.

The run's process may run out of memory, be killed or crash: the reason is left in its folder, and
whoever runs the study goes on with the next run.
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
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

from degradation.config import schema
from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import files
from degradation.system.signals import (
    SAME_REQUEST,
    block_signals,
    end_with_parent,
    signal_name,
    stop_signals,
)
from degradation.tracking.follow import Feed

log = logging.getLogger("degradation")

POLL = 0.25  # seconds between two looks for processes that a parallel launcher has yet to start
LOOK = 10.0  # seconds between two looks at the process that mirrors the rows
BUSY, STORAGE = 75, 5


class Interrupted(BaseException):
    """The study was asked to stop by a signal, and the running run has saved its state."""

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
        block_signals()
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():  # numpy's threads were there before, and hold nothing back
                signal.signal(number, lambda number, frame: self.hear(number))
        if self.listener is None:
            self.listener = threading.Thread(target=self._listen, name="signals", daemon=True)
            self.listener.start()

    def _listen(self) -> None:
        wanted = stop_signals()
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
feed = Feed()


def train_point(settings: Settings) -> None:
    """Bring the run's folder to its result, or leave the reason there.

    Raises Interrupted when the study is to stop. In a process of a parallel launcher it returns
    instead, at once for every further run, so that the launcher ends without killing the others.
    """
    if _in_a_pool():
        stopping.listen()
        end_with_parent()
    try:
        stopping.check()
        _train([settings])
        stopping.check()
    except Interrupted:
        if not _in_a_pool():
            raise
    stopping.leave_if_orphaned()


def _in_a_pool() -> bool:
    """Whether a parallel launcher started this process to run points."""
    return multiprocessing.current_process().name != "MainProcess"


def assist(settings: Settings) -> int:
    """Train as one of several processes of a run that another of them writes down;
    the exit status."""
    run = RunDir.of(settings.config, settings.machine.runs)
    process = _started([run], settings.machine)
    return process.wait()


def train_together(configs: Sequence[Settings]) -> None:
    """Train points of one machine in one process, as many at once as share the device (`pool`).

    If that process dies, the points that it leaves go on one by one, so that the one at fault is
    found and the others finish. Raises Interrupted when the study is to stop.
    """
    stopping.check()
    _train(configs)
    stopping.check()
    runs = {s.config.name: RunDir.of(s.config, s.machine.runs) for s in configs}
    left = [s for s in configs if runs[s.config.name].state() == "partial"]
    if left:
        log.warning("the process of %d points ended early: %d of them go on one by one",
                    len(configs), len(left))  # fmt: skip
    for settings in left:
        train_point(settings)


def leave_mirror(runs: Sequence[RunDir]) -> None:
    """Give W&B's mirror of `runs` a moment, and say what it lacks then."""
    if behind := feed.leave(runs):
        log.warning("W&B lacks rows of %d points; `degradation sync %s` sends them",
                    len(behind), runs[0].folder.parent)  # fmt: skip


def shares_a_gpu(machine: schema.Machine) -> bool:
    """Whether points are to share a device: asked for by number, or there is a GPU."""
    if machine.runs_per_gpu == "auto":
        return machine.device != "cpu" and Path("/dev/nvidiactl").exists()
    return machine.runs_per_gpu != 1


def _train(configs: Sequence[Settings]) -> None:
    ready = [(run, s) for s in configs if (run := _ready(s)) is not None]
    if not ready:
        return
    runs, machine = [run for run, _ in ready], configs[0].machine
    process = _started(runs, machine)
    for run, settings in ready:
        feed.begin(run, settings)
    while process.returncode is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK)
        feed.look()
    stopping.process = None
    for run in runs:
        feed.end(run)
        _note_end(run, process.returncode, alone=len(runs) == 1)


def _started(runs: Sequence[RunDir], machine: schema.Machine) -> "subprocess.Popen[bytes]":
    """The process that trains, to which signals are passed on."""
    # A session of its own: the terminal's Ctrl-C reaches it once, through us.
    process = subprocess.Popen(
        command(runs, machine), env=environment(machine.threads), start_new_session=True
    )
    stopping.watch(process)
    return process


def _ready(settings: Settings) -> RunDir | None:
    """The run's folder, made; None where there is nothing to train, or no folder."""
    run = RunDir.of(settings.config, settings.machine.runs)
    if run.result() is not None:
        log.info("%s is done", run.name)
        return None
    try:
        run.create(settings.config)
    except (RunDirError, files.StorageError) as error:
        log.error("%s: %s", run.name, error)
        return None
    return run


def command(runs: Sequence[RunDir], settings: schema.Machine) -> list[str]:
    """The command that trains the points of `runs`."""
    machine = schema.plain(settings)
    if machine["progress"] == "auto":
        bar = sys.stderr.isatty() and len(runs) == 1
        machine["progress"] = "bar" if bar else "lines"
    folders = [str(run.folder) for run in runs]
    return [sys.executable, "-m", "degradation.training.worker", *folders, json.dumps(machine)]


def environment(threads: int) -> dict[str, str]:
    """What a process that trains must find in its environment before it imports torch."""
    needed = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}  # the key, too
    return needed | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it cuBLAS is not deterministic
        "TORCHINDUCTOR_DETERMINISTIC": "1",  # compiled kernels aren't chosen by timing
        "CUDA_DEVICE_MAX_CONNECTIONS": "32",  # else streams beyond eight wait for each other
    }


def _note_end(run: RunDir, status: int, alone: bool) -> None:
    """Say how the run's process ended, and leave in the folder what it could not leave itself.

    Of a process that had several points, the status tells little about one of them.
    """
    if run.result() is not None:
        return
    if not alone:
        if failure := run.failure():
            log.error("%s failed: %s", run.name, failure["message"])
        return
    if status == BUSY:
        log.warning("%s is being trained by another process: left to it", run.name)
        return
    if status < 0 and stopping.signal is None:
        memory = "; often the system is out of memory" if status == -signal.SIGKILL else ""
        _fail(run, signal_name(-status), f"its process was ended by {signal_name(-status)}{memory}")
    elif run.failure() is None and 0 <= status < 128 and status != STORAGE:
        _fail(run, "exited early", f"its process left with status {status} and no result")
    if failure := run.failure():
        log.error("%s failed: %s", run.name, failure["message"])


def _fail(run: RunDir, kind: str, message: str) -> None:
    try:
        run.fail(kind, message)
    except files.StorageError as error:
        log.error("%s: %s (%s)", run.name, message, error)
