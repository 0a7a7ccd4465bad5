"""Train one run, or several by turns: the process that `run` starts for it.

    python -m degradation.training.worker RUN_FOLDER… MACHINE_JSON

A folder holds its run (`config.json`). Exit status: 0 the run has its result (done, or
diverged), 1 failed, 2 refused (settings, a damaged or foreign folder), 3 data missing or damaged, 5
the disk refused, 75 another process has the folder, 128 + n stopped by signal n with everything
saved. Of several points, the first that isn't 0.

Of several processes that train one run, one does all this, and the others help it.
"""

import faulthandler
import json
import logging
import os
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

import torch

from degradation.config import schema, validation
from degradation.data.dataset import DataError
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import (
    console,
    files,
    process_group,
    provenance,
)
from degradation.system.signals import Stop, Stopped, end_with_parent
from degradation.training import setup
from degradation.training.devices import distributed, interleave
from degradation.training.devices.interleave import Turns
from degradation.training.loop import train

log = logging.getLogger("degradation")

FAILED, REFUSED, DATA, STORAGE, BUSY = 1, 2, 3, 5, 75
ARRIVAL = 120.0  # seconds until a shared folder must show to all what one has made there


def main(arguments: list[str]) -> int:
    """Train the points; the exit status (see the module's head)."""
    *folders, machine_json = arguments
    settings = validation.read(schema.Machine, json.loads(machine_json), "machine")
    stop = Stop()
    end_with_parent()
    console.show_messages()
    log.addHandler(ToRunLog())
    runs = [RunDir(Path(folder)) for folder in folders]
    try:
        stop.listen()
        if process_group.rank_and_world_size()[1] > 1:
            together(runs[0], settings, stop)
        statuses = interleave.take_turns(
            (config(r, settings, stop), _share(r, settings)) for r in runs
        )
    except Stopped:
        return stop.status
    return next(filter(None, statuses), 0)


def together(run: RunDir, settings: schema.Machine, stop: Stop) -> NoReturn:
    """Train with others, and leave without waiting for what a dead one might still have to say."""
    distributed.leave_with_parent()
    work = config if process_group.rank_and_world_size()[0] == 0 else help_with
    status = interleave.finish(work(run, settings, stop))
    sys.stdout.flush()
    os._exit(status)


def help_with(run: RunDir, settings: schema.Machine, stop: Stop) -> Turns[int]:
    """Train a share of each batch of a run that another process writes down; the exit status."""
    until = time.monotonic() + ARRIVAL
    while not run.config_json.exists():
        if time.monotonic() > until:
            print(f"{run.folder} is not there; machine.runs must name a folder that all processes "
                  "of a run share", file=console.IgnoreBrokenPipe(sys.stderr))  # fmt: skip
            return REFUSED
        time.sleep(0.1)
    try:
        yield from train(setup.prepare(run, settings, stop))
    except Stopped:
        return stop.status
    except DataError as error:
        print(console.escape_control_chars(f"{run.name}: {error}"), file=console.IgnoreBrokenPipe(sys.stderr))
        return DATA
    except (distributed.Lost, ValueError) as error:  # rank 0 says why
        log.debug("%s: %s", run.name, error)
        return FAILED
    return 0


def _share(run: RunDir, settings: schema.Machine) -> float:
    try:
        depth = run.config().depth
    except RunDirError:  # refused when its turn comes
        return 1.0
    return interleave.share(
        settings.runs_per_gpu, depth, settings.device != "cpu" and torch.cuda.is_available()
    )


def config(run: RunDir, settings: schema.Machine, stop: Stop) -> Turns[int]:
    """Train one run; its exit status."""
    LOGGED.set(run)
    try:
        with files.lock(run.lock):
            return (yield from _alone(run, settings, stop))
    except files.LockedError as busy:
        print(busy, file=console.IgnoreBrokenPipe(sys.stderr))
        return BUSY
    except files.StorageError as error:
        print(f"{run.name}: {error}", file=console.IgnoreBrokenPipe(sys.stderr))
        return STORAGE
    except ValueError as error:
        print(console.escape_control_chars(f"{run.name}: {error}"), file=sys.stderr)
        return REFUSED
    except Stopped:
        return stop.status


def _alone(run: RunDir, settings: schema.Machine, stop: Stop) -> Turns[int]:
    """Train as the only process in the folder, and leave there why it ended early."""
    if run.result() is not None:
        return 0
    with files.appending(run.log) as descriptor:
        faulthandler.enable(descriptor)
        files.make_folder(run.checkpoints)  # refused now, not after a row
        files.remove(run.failed_json)
        files.remove_temporary(run.folder)
        files.remove_temporary(run.checkpoints)
        try:
            yield from work(run, settings, stop)
            return 0
        except files.StorageError as error:
            _fail(run, error, str(error))
            raise
        except DataError as error:
            _fail(run, error, str(error))
            return DATA
        except ValueError as error:  # for people, as all of ours are: no traceback on the screen
            _fail(run, error, str(error))
            return REFUSED
        except Exception as error:
            _fail(run, error, f"{type(error).__name__}: {error}{_remedy(error, run)}")
            return FAILED
        finally:
            faulthandler.disable()


def work(run: RunDir, settings: schema.Machine, stop: Stop) -> Turns[None]:
    """From the folder to its result."""
    session = setup.prepare(run, settings, stop)
    try:
        outcome = yield from train(session)
    finally:
        session.recorder.close()
        session.stream.close()
    rows = run.rows()
    files.write_json(
        run.done_json,
        {
            **outcome,
            "exact": not run.resume_mismatches.exists(),
            "last": rows[-1] if rows else None,
            "curves_sha256": files.sha256_of(run.curves) if rows else None,
            "fingerprint": session.fingerprint,
            "finished": provenance.now(),
        },
    )


LOGGED: ContextVar[RunDir] = ContextVar("logged")
"""The run whose turn it is."""


class ToRunLog(logging.Handler):
    """Messages go to the log of the run whose turn it is, too, each with its time."""

    def emit(self, record: logging.LogRecord) -> None:
        if (run := LOGGED.get(None)) is not None:
            with suppress(files.StorageError):  # a full disk has been reported already
                files.append_line(run.log, f"{provenance.now()} {self.format(record)}")


def _fail(run: RunDir, error: Exception, message: str) -> None:
    """Leave the reason in `failed.json`, and the traceback in the log alone."""
    log.error(message, exc_info=error, extra=console.HIDDEN)
    with suppress(files.StorageError):  # who started us says it then
        run.fail(type(error).__name__, message)


def _remedy(error: Exception, run: RunDir) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        config = run.config()
        return (f"\nout of memory: depth {config.depth} at recipe.batch_size={config.recipe.batch_size}; use a "
                "larger device, machine.runs_per_gpu=1 if points shared it, or machine.accumulate=2 (or "
                "more), which goes through a batch in parts")  # fmt: skip
    if isinstance(error, distributed.Lost):
        return ": what it said is above; the same command goes on from the last checkpoint"
    if "DataLoader worker" in str(error):  # killed; a bad image is a DataError
        return ("\na process that decodes images died: often the system is out of memory, or "
                "/dev/shm is small; say machine.workers=N with fewer, or 0, and give the same "
                "command again")  # fmt: skip
    return f"\nthe traceback is in {run.log}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
