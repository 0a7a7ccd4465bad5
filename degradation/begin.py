"""What a process needs to train a point: as the last checkpoint left it, or from the beginning."""

import json
import logging
from typing import Any

from degradation import (
    checkpoint,
    grow,
    machine,
    native,
    network,
    peers,
    provenance,
    ranks,
    spec,
    storage,
)
from degradation import data as sources
from degradation.data import Folder, decode, feed
from degradation.engine import Engine, record_for
from degradation.recorder import Recorder, Unrecorded, mark_inexact
from degradation.schema import bare
from degradation.signals import Stop
from degradation.state import State, fresh
from degradation.store import Run, whole_lines
from degradation.train import Session

log = logging.getLogger("degradation")


def prepare(run: Run, settings: spec.Machine, stop: Stop) -> Session:
    """Everything that training needs, as the last checkpoint left it or from the beginning.

    Raises ValueError (schema.Invalid, DataError, checkpoint.Damaged, store.Foreign, Mismatch), and
    storage.Failed where the disk has no room for the checkpoints.
    """
    point = run.point()
    parts = settings.accumulate
    peers.check(point, peers.expected()[1], parts)
    device = machine.apply(settings, point.numerics)
    pictures = sources.load(point.data)
    all_of_us = ranks.join(device)
    fingerprint = machine.fingerprint(device, all_of_us.size, parts)
    if isinstance(pictures, Folder):
        fingerprint |= decode.versions()
    if point.numerics.native:
        fingerprint |= native.library.versions()
    stream = feed.stream(pictures, point, device, settings.workers, all_of_us)
    state = fresh(point, pictures, device)
    if point.recipe.grown_from is not None:
        exam = feed.exam(pictures, "train", device, settings.workers, point.recipe.batch)
        grow.grow_from_run(state.network, point, run, exam)
    digests = {
        "initial": network.parameters_digest(state.network),
        "stream": stream.digest(),
        "pictures": pictures.digest,
    }
    if all_of_us.writes:
        storage.check_room(run.checkpoints, (checkpoint.KEEP + 1) * state.size)
    engine = Engine(point, state, stream, record_for(point.numerics.graph, device), parts)
    resume(run, point, state, fingerprint, settings.resume, all_of_us)
    recorder: Recorder | Unrecorded = Unrecorded()
    if all_of_us.writes:
        recorder = Recorder(run, state.rows, point.recipe.iterations, settings.progress)
        notes = pictures.notes if isinstance(pictures, Folder) else {}
        note_start(run, state, fingerprint, digests, notes)
    return Session(
        point, run, state, stream, engine,
        feed.exams(pictures, device, settings.workers, all_of_us),
        recorder, fingerprint, stop, settings.layers_every,
    )  # fmt: skip


class Mismatch(ValueError):
    """A checkpoint from other numerics."""


def resume(
    run: Run,
    point: spec.Point,
    state: State,
    fingerprint: dict[str, Any],
    how: str,
    all_of_us: ranks.Ranks = ranks.ALONE,
) -> None:
    """Go on from the newest checkpoint, where there is one; rank 0 reads it for all.

    Raises checkpoint.Damaged, or Mismatch where the fingerprint differs and `how` isn't inexact.
    """
    content = checkpoint.newest(run.checkpoints) if all_of_us.writes else None
    content = all_of_us.told(content)
    if content is None:
        return
    try:
        tensors, meta = checkpoint.decode(content)
        checkpoint.check_meta(meta)
        if meta["point"] != point.name:
            raise checkpoint.Damaged(f"the newest is a checkpoint of {bare(meta['point'])}, which "
                                     "belongs elsewhere")  # fmt: skip
        if lines := spec.difference(meta["fingerprint"], fingerprint):
            if how != "inexact":
                raise Mismatch(
                    f"{run.name} was begun under other numerics, and would not be the same run:\n  "
                    + "\n  ".join(lines)
                    + "\ngo on where it began, or say machine.resume=inexact, which marks the run"
                )
            if all_of_us.writes:
                mark_inexact(run, {"iteration": meta["iteration"], "fingerprint": lines})
        state.load(tensors, meta)
    except checkpoint.Damaged as error:
        raise checkpoint.Damaged(f"{run.checkpoints}: {error}; remove {run.folder} to train the "
                                 "point anew") from error  # fmt: skip
    if all_of_us.writes:
        log.info("%s goes on at iteration %d", run.name, state.iteration)


def note_start(
    run: Run,
    state: State,
    fingerprint: dict[str, Any],
    digests: dict[str, str],
    notes: dict[str, Any],
) -> None:
    """Write down what this process starts from. Raises ValueError where the data has changed."""
    earlier = whole_lines(run.starts)
    if earlier and (lines := spec.difference(json.loads(earlier[-1])["digests"], digests)):
        raise Mismatch(f"{run.name} was begun on other data or initial weights:\n  "
                       + "\n  ".join(lines)
                       + f"\nrestore the data, or move {run.folder} away")  # fmt: skip
    start = {
        "at": provenance.now(),
        "host": provenance.host(),
        "iteration": state.iteration,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "fingerprint": fingerprint,
        "parameters": network.count_parameters(state.network),
        "digests": digests,
        **({"data": notes} if notes else {}),
    }
    storage.append_line(run.starts, json.dumps(start))
