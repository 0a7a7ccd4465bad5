"""Train one run, or several interleaved: the process that `run` starts for it.

    python -m degradation.training.worker RUN_FOLDER… MACHINE_JSON

A folder holds its run (`config.json`). Exit status: 0 the run has its result (done, or
diverged), 1 failed, 2 refused (settings, a damaged or foreign folder), 3 data missing or damaged, 5
the disk refused, 75 another process has the folder, 128 + n stopped by signal n with everything
saved. Of several runs, the first that isn't 0.

Of several processes that train one run, the main one does all this, and the others help it.
"""

import faulthandler
import json
import logging
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

import torch

from degradation.config import schema, validation
from degradation.data.dataset import DataError
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import console, files, process_group, provenance
from degradation.system.signals import Stop, Stopped, end_with_parent
from degradation.training import setup
from degradation.training.devices import device as devices
from degradation.training.devices import distributed
from degradation.training.devices.interleave import Steps, drain, fraction, interleave
from degradation.training.loop import train

log = logging.getLogger("degradation")

FAILED, REFUSED, DATA, STORAGE, BUSY = 1, 2, 3, 5, 75
STATUSES: dict[type[Exception], int] = {
    files.LockedError: BUSY,
    files.StorageError: STORAGE,
    DataError: DATA,
    ValueError: REFUSED,  # its message is meant for people
    Exception: FAILED,
}
ARRIVAL = 120.0  # seconds until a shared folder must show to all what one has made there


def main(arguments: list[str]) -> int:
    """Train the runs; the exit status (see the module's docstring)."""
    *folders, machine_json = arguments
    machine = validation.read(schema.Machine, json.loads(machine_json), "machine")
    stop = Stop()
    faulthandler.enable()
    end_with_parent()
    console.show_messages()
    log.addHandler(RunLogHandler())
    runs = [RunDir(Path(folder)) for folder in folders]
    try:
        stop.listen()
        if process_group.rank_and_world_size()[1] > 1:
            train_with_others(runs[0], machine, stop)
        device = None
        with suppress(validation.ConfigError):  # each run reports it
            device = devices.resolve(machine.device)
        statuses = list[int]()
        for alike in _by_numerics(runs, machine, device):
            steps = ((train_run(run, machine, stop), part) for run, part in alike)
            statuses += interleave(steps, device)
    except Stopped:
        return stop.status
    return next(filter(None, statuses), 0)


def train_with_others(run: RunDir, machine: schema.Machine, stop: Stop) -> NoReturn:
    """Train with other processes, and leave without waiting for one that may be dead."""
    distributed.leave_with_parent()
    is_main = process_group.rank_and_world_size()[0] == 0
    steps = train_run(run, machine, stop) if is_main else help_to_train(run, machine, stop)
    status = drain(steps)
    sys.stdout.flush()
    os._exit(status)


def help_to_train(run: RunDir, machine: schema.Machine, stop: Stop) -> Steps[int]:
    """Train a share of each batch of a run that another process writes down; the exit status."""
    end = time.monotonic() + ARRIVAL
    while not run.config_json.exists():
        if time.monotonic() > end:
            console.print_error(
                f"{run.folder} is not there; machine.runs must name a folder that all processes "
                "of a run share"
            )
            return REFUSED
        time.sleep(0.1)
    try:
        yield from train(setup.prepare(run, machine, stop))
    except Stopped:
        return stop.status
    except DataError as error:
        console.print_error(f"{run.name}: {error}")
        return DATA
    except (distributed.LostError, ValueError) as error:
        # The main process tells people why.
        log.debug("%s: %s", run.name, error)
        return FAILED
    return 0


def _by_numerics(
    runs: list[RunDir], machine: schema.Machine, device: torch.device | None
) -> Iterable[list[tuple[RunDir, float]]]:
    """The runs, each with the fraction of the device that it takes; apart where their numerics
    differ, as torch has its settings once for the whole process."""
    groups = defaultdict[schema.Numerics | None, list[tuple[RunDir, float]]](list)
    for run in runs:
        numerics, part = None, 1.0
        # A config.json that is not sound is reported when it is the run's turn.
        with suppress(RunDirError, files.StorageError):
            config = run.config()
            numerics, part = config.numerics, fraction(machine.runs_per_gpu, config.depth, device)
        groups[numerics].append((run, part))
    return groups.values()


def train_run(run: RunDir, machine: schema.Machine, stop: Stop) -> Steps[int]:
    """Train one run; its exit status."""
    if stop.signal is not None:
        return stop.status
    LOGGED.set(run)
    try:
        with files.lock(run.lock):
            return (yield from _train_locked(run, machine, stop))
    except (files.StorageError, ValueError) as error:
        console.print_error(f"{run.name}: {error}")
        return _status(error)
    except Stopped:
        return stop.status


def _status(error: Exception) -> int:
    """The exit status of a run that ended by it."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def _train_locked(run: RunDir, machine: schema.Machine, stop: Stop) -> Steps[int]:
    """Train as the only process in the folder, and leave there why it ended early: the traceback in
    the log alone."""
    if run.result() is not None:
        return 0
    # A disk that refuses it does so now, and not after a row.
    files.make_folder(run.checkpoints)
    files.remove(run.failed_json)
    files.remove_temporary(run.folder)
    files.remove_temporary(run.checkpoints)
    try:
        yield from train_to_result(run, machine, stop)
        return 0
    except Exception as error:
        status, message = _status(error), str(error)
        if status == FAILED:
            message = f"{type(error).__name__}: {error}{_remedy(error, run)}"
        log.error(message, exc_info=error, extra=console.HIDDEN)
        with suppress(files.StorageError):  # the process that started this one reports it then
            run.fail(type(error).__name__, message)
        if status == STORAGE:
            raise
        return status


def train_to_result(run: RunDir, machine: schema.Machine, stop: Stop) -> Steps[None]:
    """From the folder to its result."""
    context = setup.prepare(run, machine, stop)
    try:
        outcome = yield from train(context)
    finally:
        if context.logger is not None:
            context.logger.close()
        context.loader.close()
        context.engine.close()
    rows = run.rows()
    files.write_json(
        run.done_json,
        {
            **outcome,
            "exact": not run.resume_mismatches.exists(),
            "last": rows[-1] if rows else None,
            "curves_sha256": files.sha256_of(run.curves) if rows else None,
            "fingerprint": context.fingerprint,
            "finished": provenance.now(),
        },
    )


LOGGED: ContextVar[RunDir] = ContextVar("logged")
"""The run that is being trained at the moment."""


class RunLogHandler(logging.Handler):
    """Messages also go to the log of the run that is being trained, each with its time."""

    def emit(self, record: logging.LogRecord) -> None:
        if (run := LOGGED.get(None)) is not None:
            with suppress(files.StorageError):  # a full disk has been reported already
                files.append_line(run.log, f"{provenance.now()} {self.format(record)}")


def _remedy(error: Exception, run: RunDir) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        config = run.config()
        return (
            f"\nout of memory: depth {config.depth} at recipe.batch_size="
            f"{config.recipe.batch_size}; use a larger device, machine.runs_per_gpu=1 if runs "
            "shared it, or several processes (torchrun), each with a share of the batch"
        )
    if isinstance(error, distributed.LostError):
        return "; its own message is above; the same command goes on from the last checkpoint"
    if "DataLoader worker" in str(error):  # it was killed; a bad image is a DataError
        return (
            "\na process that decodes images died: often the system is out of memory, or "
            "/dev/shm is small; give machine.workers=N with fewer, or 0, and the same command "
            "again"
        )
    return f"\nthe traceback is in {run.log}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
