"""Trains runs in processes of their own, while another process sends their rows to W&B.

A run's process may run out of memory, be killed or crash: the reason is left in its folder, and the
study goes on with the next run.
"""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from degradation.config.schema import Machine, Settings
from degradation.launch.stopping import Interrupted, stopping
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import files
from degradation.system.signals import end_with_parent, signal_name
from degradation.tracking.sync import Sync

log = logging.getLogger("degradation")

WAKE = 1.0  # seconds
LOCKED, STORAGE = 75, 5  # exit statuses of a run's process


sync = Sync()


@dataclass(frozen=True)
class Group:
    """Runs of one machine that one process trains, as many at once as share the device."""

    runs: list[Settings]
    gpu: str | None = None
    """The one that is theirs, as CUDA_VISIBLE_DEVICES names it; None: what the machine has."""


def train_alone(settings: Settings) -> None:
    """Bring one run to its result, or leave the reason in its folder. Raises Interrupted."""
    train_groups([Group([settings])])


def train_groups(groups: Sequence[Group]) -> None:
    """Train each group in a process of its own, all of them at the same time.

    If a process dies, the runs that it leaves go on one by one, so that the one at fault is found
    and the others finish. Raises Interrupted when the study is to stop.
    """
    stopping.check()
    _train(groups)
    stopping.check()
    for group in groups:
        unfinished = [s for s in group.runs if _run_dir(s).state() == "partial"]
        if len(group.runs) == 1 or not unfinished:
            continue
        counts = len(group.runs), len(unfinished)
        log.warning("the process of %d runs ended early: %d of them go on one by one", *counts)
        for settings in unfinished:
            _train([Group([settings], group.gpu)])
            stopping.check()


def train_in_a_pool(settings: Settings) -> None:
    """Train one run in a launcher's process.

    When the study is to stop it returns, at once for every further run, so that the launcher ends
    without killing the others.
    """
    stopping.listen()
    end_with_parent()
    with suppress(Interrupted):
        train_alone(settings)
    stopping.leave_if_orphaned()


def assist(settings: Settings) -> int:
    """Train as one of several processes of a run that another of them writes down; the exit
    status."""
    return _wait(_start([_run_dir(settings)], Group([settings])))


def finish_sync(runs: Sequence[Settings]) -> None:
    """Give W&B a moment for the rows of `runs`, and say what it lacks then."""
    folders = [_run_dir(settings) for settings in runs]
    if behind := sync.finish(folders):
        command = f"degradation sync {folders[0].folder.parent}"
        log.warning("W&B lacks rows of %d runs; `%s` sends them", len(behind), command)


def _run_dir(settings: Settings) -> RunDir:
    return RunDir.of(settings.config, settings.machine.runs)


def _train(groups: Sequence[Group]) -> None:
    started = []
    for group in groups:
        ready = [(run, s) for s in group.runs if (run := _ready(s)) is not None]
        if ready:
            runs = [run for run, _ in ready]
            started.append((_start(runs, group), runs))
            sync.start(ready)
    for process, _ in started:
        _wait(process)
    stopping.processes.clear()
    sync.end()
    for process, runs in started:
        for run in runs:
            _note_end(run, process.returncode, alone=len(runs) == 1)


def _start(runs: Sequence[RunDir], group: Group) -> "subprocess.Popen[bytes]":
    """The process that trains, to which signals are passed on."""
    machine = group.runs[0].machine
    words, env = command(runs, machine), environment(machine.threads, group.gpu)
    # A session of its own: the terminal's Ctrl-C reaches it once, through us.
    process = subprocess.Popen(words, env=env, start_new_session=True)
    stopping.watch(process)
    return process


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """The process's exit status, once it has ended."""
    # Python's signal handlers run in this thread alone, whichever thread receives the signal. So it
    # must wake up now and then.
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(WAKE)
    return process.returncode


def _ready(settings: Settings) -> RunDir | None:
    """The run's folder, made; None where there is nothing to train, or no folder."""
    run = _run_dir(settings)
    if run.result() is not None:
        log.info("%s is done", run.name)
        return None
    try:
        run.create(settings.config)
    except (RunDirError, files.StorageError) as error:
        log.error("%s: %s", run.name, error)
        return None
    return run


def command(runs: Sequence[RunDir], machine: Machine) -> list[str]:
    """The command that trains `runs`."""
    settings = dataclasses.asdict(machine)
    if settings["progress"] == "auto":
        bar = sys.stderr.isatty() and len(runs) == 1
        settings["progress"] = "bar" if bar else "lines"
    folders = [str(run.folder) for run in runs]
    return [sys.executable, "-m", "degradation.training.worker", *folders, json.dumps(settings)]


def environment(threads: int, gpu: str | None = None) -> dict[str, str]:
    """What a process that trains must find in its environment before it imports torch."""
    # It has no use for W&B's variables, the key among them.
    needed = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    needed |= {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Without it cuBLAS is not deterministic.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Compiled kernels aren't chosen by timing.
        "TORCHINDUCTOR_DETERMINISTIC": "1",
        # Streams beyond eight would wait for each other.
        "CUDA_DEVICE_MAX_CONNECTIONS": "32",
    }
    return needed if gpu is None else needed | {"CUDA_VISIBLE_DEVICES": gpu}


def _note_end(run: RunDir, status: int, alone: bool) -> None:
    """Say how the run's process ended, and leave in the folder what it could not leave itself.

    Of a process that had several runs, the status tells little about one of them.
    """
    if run.result() is not None:
        return
    if alone and status == LOCKED:
        log.warning("%s is being trained by another process: left to it", run.name)
        return
    if alone and status < 0 and stopping.signal is None:
        memory = "; often the system is out of memory" if status == -signal.SIGKILL else ""
        _fail(run, signal_name(-status), f"its process was ended by {signal_name(-status)}{memory}")
    elif alone and run.failure() is None and 0 <= status < 128 and status != STORAGE:
        _fail(run, "exited early", f"its process left with status {status} and no result")
    if failure := run.failure():
        log.error("%s failed: %s", run.name, failure["message"])


def _fail(run: RunDir, kind: str, message: str) -> None:
    try:
        run.fail(kind, message)
    except files.StorageError as error:
        log.error("%s: %s (%s)", run.name, message, error)
