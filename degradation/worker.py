"""Train one point: the process that `run` starts for it.

    python -m degradation.worker RUN_FOLDER MACHINE_JSON

The folder holds the point (`point.json`). Exit status: 0 the point has its result (done, or
diverged), 1 failed, 2 refused (settings, a damaged or foreign folder), 3 data missing or damaged, 5
the disk refused, 75 another process has the folder, 128 + n stopped by signal n with everything
saved.
"""

import faulthandler
import json
import logging
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from degradation import (
    checkpoint,
    machine,
    network,
    provenance,
    schema,
    screen,
    spec,
    storage,
)
from degradation import data as sources
from degradation.data import DataError
from degradation.data.batches import Exam, Stream
from degradation.recorder import Recorder, mark_inexact
from degradation.signals import Stop, Stopped, end_with_parent
from degradation.store import Run, whole_lines
from degradation.train import Session, State, fresh, train

log = logging.getLogger("degradation")

FAILED, REFUSED, DATA, STORAGE, BUSY = 1, 2, 3, 5, 75


def main(arguments: list[str]) -> int:
    """Train the point; its exit status (see the module's head)."""
    run = Run(Path(arguments[0]))
    settings = schema.read(spec.Machine, json.loads(arguments[1]), "machine")
    stop = Stop()
    end_with_parent()
    try:
        stop.listen()
        with storage.lock(run.lock):
            return _alone(run, settings, stop)
    except storage.Busy as busy:
        print(busy, file=screen.Unheard(sys.stderr))
        return BUSY
    except storage.Failed as error:
        print(f"{run.name}: {error}", file=screen.Unheard(sys.stderr))
        return STORAGE
    except Stopped:
        return stop.status


def _alone(run: Run, settings: spec.Machine, stop: Stop) -> int:
    """Train as the only process in the folder, and leave there why it ended early."""
    if run.result() is not None:
        return 0
    with storage.appending(run.log) as descriptor:
        faulthandler.enable(descriptor)
        _log_to(run)
        storage.make_folder(run.checkpoints)  # refused now, not after a row
        storage.remove(run.failed_json)
        storage.clean(run.folder)
        storage.clean(run.checkpoints)
        try:
            work(run, settings, stop)
            return 0
        except storage.Failed as error:
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


def work(run: Run, settings: spec.Machine, stop: Stop) -> None:
    """From the folder to its result."""
    session = prepare(run, settings, stop)
    try:
        outcome = train(session)
    finally:
        session.recorder.close()
    rows = run.rows()
    storage.write_json(
        run.done_json,
        {
            **outcome,
            "exact": not run.inexact.exists(),
            "last": rows[-1] if rows else None,
            "curves_sha256": storage.sha256_of(run.curves) if rows else None,
            "fingerprint": session.fingerprint,
            "finished": _now(),
        },
    )


def prepare(run: Run, settings: spec.Machine, stop: Stop) -> Session:
    """Everything that training needs, as the last checkpoint left it or from the beginning.

    Raises ValueError (schema.Invalid, DataError, checkpoint.Damaged, store.Foreign, Mismatch), and
    storage.Failed where the disk has no room for the checkpoints.
    """
    point = run.point()
    device = machine.apply(settings, point.numerics)
    fingerprint = machine.fingerprint(device)
    pictures = sources.load(point.data)
    stream = Stream(pictures, point.data, point.seed, point.recipe.batch, device)
    state = fresh(point, pictures, device)
    digests = {
        "initial": network.parameters_digest(state.network),
        "stream": stream.digest(),
        "pictures": pictures.digest,
    }
    storage.check_room(run.checkpoints, (checkpoint.KEEP + 1) * state.size)
    resume(run, point, state, fingerprint, settings.resume)
    recorder = Recorder(run, state.rows, point.recipe.iterations, settings.progress)
    note_start(run, state, fingerprint, digests)
    exams = {"test": pictures.test, "validation": pictures.held_out, "train": pictures.train}
    return Session(
        point, run, state, stream,
        {name: Exam(split, pictures, device) for name, split in exams.items() if len(split)},
        recorder, fingerprint, stop,
    )  # fmt: skip


class Mismatch(ValueError):
    """A checkpoint from other numerics."""


def resume(
    run: Run, point: spec.Point, state: State, fingerprint: dict[str, Any], how: str
) -> None:
    """Go on from the newest checkpoint, where there is one.

    Raises checkpoint.Damaged, or Mismatch where the fingerprint differs and `how` isn't inexact.
    """
    content = checkpoint.newest(run.checkpoints)
    if content is None:
        return
    tensors, meta = checkpoint.decode(content)
    if meta["point"] != point.name:
        raise checkpoint.Damaged(
            f"{run.checkpoints} holds a checkpoint of {meta['point']}: move that where it belongs, "
            f"or remove {run.folder} to train the point anew"
        )
    if lines := spec.difference(meta["fingerprint"], fingerprint):
        if how != "inexact":
            raise Mismatch(
                f"{run.name} was begun under other numerics, and would not be the same run:\n  "
                + "\n  ".join(lines)
                + "\ngo on where it began, or say machine.resume=inexact, which marks the run"
            )
        mark_inexact(run, {"iteration": meta["iteration"], "fingerprint": lines})
    state.load(tensors, meta)
    log.info("%s goes on at iteration %d", run.name, state.iteration)


def note_start(
    run: Run, state: State, fingerprint: dict[str, Any], digests: dict[str, str]
) -> None:
    """Write down what this process starts from. Raises ValueError where the data has changed."""
    earlier = whole_lines(run.starts)
    if earlier and (lines := spec.difference(json.loads(earlier[-1])["digests"], digests)):
        raise Mismatch(f"{run.name} was begun on other data or initial weights:\n  "
                       + "\n  ".join(lines))  # fmt: skip
    start = {
        "at": _now(),
        "host": provenance.host(),
        "iteration": state.iteration,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "fingerprint": fingerprint,
        "parameters": network.count_parameters(state.network),
        "digests": digests,
    }
    storage.append_line(run.starts, json.dumps(start))


def _log_to(run: Run) -> None:
    """Messages go to the run's log, too, each with its time."""

    class ToFile(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(storage.Failed):  # a full disk has been reported already
                storage.append_line(run.log, f"{_now()} {self.format(record)}")

    screen.show_messages()
    log.addHandler(ToFile())


def _fail(run: Run, error: Exception, message: str) -> None:
    """Leave the reason in `failed.json`, and the traceback in the log alone."""
    log.error(message, exc_info=error, extra=screen.HIDDEN)
    with suppress(storage.Failed):  # who started us says it then
        storage.write_json(
            run.failed_json, {"kind": type(error).__name__, "message": message, "at": _now()}
        )


def _remedy(error: Exception, run: Run) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        point = run.point()
        return (f"\nout of memory: depth {point.depth} at recipe.batch={point.recipe.batch}; use a "
                "larger device, or a smaller batch (another point)")  # fmt: skip
    return f"\nthe traceback is in {run.log}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
