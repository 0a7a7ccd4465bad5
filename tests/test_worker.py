"""The process of one point: its exit status says how it ended."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from degradation import spec, storage, train
from degradation.signals import Stop
from degradation.store import Run
from degradation.worker import BUSY, DATA, REFUSED, STORAGE, prepare


def worker(
    run: Run, machine: spec.Machine, before: Callable[[], None] | None = None
) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "degradation.worker", str(run.folder)]
    return subprocess.run(
        [*words, json.dumps(spec.plain(machine))], capture_output=True, text=True, preexec_fn=before
    )


def made(point: spec.Point, machine: spec.Machine) -> Run:
    run = Run.of(point, machine.runs)
    run.create(point)
    return run


def test_done(small, machine) -> None:
    run = made(small(), machine)
    storage.write_json(run.failed_json, {"message": "an older process"})
    (run.folder / ".done.json.1.tmp").touch()
    assert worker(run, machine).returncode == 0
    assert run.state() == "done"
    assert not run.failed_json.exists()
    assert not list(run.folder.glob(".*.tmp"))


def test_missing_data(small, machine, tmp_path: Path) -> None:
    run = made(small(data__name="cifar10", data__root=str(tmp_path / "none")), machine)
    assert worker(run, machine).returncode == DATA
    assert "CIFAR-10 is not there" in run.failure()["message"]


def test_refused_settings(small, machine) -> None:
    run = made(small(data__held_out=2000), machine)
    assert worker(run, machine).returncode == DATA
    run.point_json.write_text("{")
    assert worker(run, machine).returncode == REFUSED
    assert "point.json" in run.failure()["message"]


def test_another_process_has_it(small, machine) -> None:
    run = made(small(), machine)
    with storage.lock(run.lock):
        busy = worker(run, machine)
    assert busy.returncode == BUSY
    assert "is in use by pid" in busy.stderr


def test_a_disk_that_refuses_a_checkpoint(small, machine) -> None:
    """A real limit of the kernel's: files of at most 8 kB, and the checkpoint is larger."""
    run = made(small(), machine)
    limit = (8_192, 8_192)
    full = worker(run, machine, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert full.returncode == STORAGE
    assert "ulimit -f" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(run.checkpoints.iterdir())
    assert worker(run, machine).returncode == 0
    assert run.result()["exact"] is True


def test_no_room_is_found_before_the_first_step(small, machine, monkeypatch) -> None:
    run = made(small(), machine)
    monkeypatch.setattr(storage, "free", lambda folder: 1_000)
    try:
        prepare(run, machine, Stop())
    except storage.Failed as refusal:
        assert "need 0.1 MB" in str(refusal)
    else:
        raise AssertionError("it began")
    assert not run.starts.exists()


def test_weights_that_are_no_numbers_are_not_saved(small, machine) -> None:
    session = prepare(made(small(), machine), machine, Stop())
    saver = train.Saver(session)
    saver.save()
    before = list(session.run.checkpoints.iterdir())
    next(session.state.network.parameters()).data[0] = float("nan")
    session.state.iteration += 1
    saver.save()
    assert list(session.run.checkpoints.iterdir()) == before
    assert len(before) == 1
