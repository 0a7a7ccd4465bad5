"""The process of one run: its exit status says how it ended."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system import files, signals
from degradation.system.signals import Stop
from degradation.training import checkpoint, loop
from degradation.training.setup import prepare
from degradation.training.worker import (
    BUSY,
    DATA,
    REFUSED,
    STORAGE,
)


def worker(
    run: RunDir, machine: schema.Machine, before: Callable[[], None] | None = None
) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "degradation.training.worker", str(run.folder)]
    return subprocess.run(
        [*words, json.dumps(schema.plain(machine))],
        capture_output=True,
        text=True,
        preexec_fn=before,
    )


def made(config: schema.RunConfig, machine: schema.Machine) -> RunDir:
    run = RunDir.of(config, machine.runs)
    run.create(config)
    return run


def test_done(small, machine) -> None:
    run = made(small(), machine)
    files.write_json(run.failed_json, {"message": "an older process"})
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
    run = made(small(data__val_size=2000), machine)
    assert worker(run, machine).returncode == DATA
    run.config_json.write_text("{")
    assert worker(run, machine).returncode == REFUSED
    assert "config.json" in run.failure()["message"]


def test_another_process_has_it(small, machine) -> None:
    run = made(small(), machine)
    with files.lock(run.lock):
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
    monkeypatch.setattr(files, "free", lambda folder: 1_000)
    try:
        prepare(run, machine, Stop())
    except files.StorageError as refusal:
        assert "need 0.1 MB" in str(refusal)
    else:
        raise AssertionError("it began")
    assert not run.launches_jsonl.exists()


def test_weights_that_are_no_numbers_are_not_saved(small, machine) -> None:
    session = prepare(made(small(), machine), machine, Stop())
    saver = loop.Saver(session)
    saver.save()
    before = list(session.run.checkpoints.iterdir())
    next(session.state.network.parameters()).data[0] = float("nan")
    session.state.iteration += 1
    saver.save()
    assert list(session.run.checkpoints.iterdir()) == before
    assert len(before) == 1


def test_the_look_for_nan_is_part_of_what_a_save_costs(small, machine, monkeypatch) -> None:
    session = prepare(made(small(), machine), machine, Stop())
    saver = loop.Saver(session)
    monkeypatch.setattr(loop.State, "finite", property(lambda state: not time.sleep(0.2)))
    saver.save()
    assert saver.cost > 0.2


def test_a_checkpoint_of_another_point_is_refused_with_what_to_do(small, machine) -> None:
    run, other = made(small(), machine), made(small(seed=1), machine)
    assert worker(other, machine).returncode == 0
    content = checkpoint.newest(other.checkpoints)
    checkpoint.save(run.checkpoints, 5, content)
    assert worker(run, machine).returncode == REFUSED
    said = run.failure()["message"]
    assert f"the newest is a checkpoint of {other.name}, which belongs elsewhere" in said
    assert f"remove {run.folder}" in said
    assert not run.launches_jsonl.exists()


def test_a_file_for_the_folder_of_checkpoints_is_refused_before_a_row(small, machine) -> None:
    run = made(small(), machine)
    run.checkpoints.rmdir()
    run.checkpoints.touch()
    assert worker(run, machine).returncode == STORAGE
    assert not run.curves.exists()


def test_rows_that_do_not_rise_are_refused(small, machine) -> None:
    run = made(small(), machine)
    for iteration in (4, 4):
        row = {"iteration": iteration, "train_error": 90.0, "test_error": 90.0}
        files.append_line(run.curves, json.dumps(row))
    assert worker(run, machine).returncode == REFUSED
    assert "curves.jsonl, line 2: iteration=4 behind 4: must rise" in run.failure()["message"]
    assert not run.launches_jsonl.exists()


def test_a_signal_while_it_starts_is_no_traceback(small, machine) -> None:
    """As `run` starts it: held back, until it listens."""
    run = made(small(), machine)
    words = [sys.executable, "-m", "degradation.training.worker", str(run.folder),
             json.dumps(schema.plain(machine))]  # fmt: skip
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, preexec_fn=signals.block_signals
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
