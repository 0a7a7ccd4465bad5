"""The process of one run: its exit status says how it ended."""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system import files, signals
from degradation.training import checkpoint, loop, worker
from degradation.training.worker import BUSY, DATA, REFUSED, STORAGE
from tests.training.train_here import bits, context_of, created, train_here, work

pytestmark = pytest.mark.usefixtures("deaf")


@pytest.fixture
def run(small, machine) -> RunDir:
    return created(small(), machine)


def start(
    run: RunDir, machine: schema.Machine, before: Callable[[], object]
) -> "subprocess.Popen[str]":
    """A worker as `run` starts it, once it has called `before`."""
    words = [str(run.folder), json.dumps(dataclasses.asdict(machine))]
    command = [sys.executable, "-m", "degradation.training.worker", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=before)


def message(run: RunDir) -> str:
    """Why the run ended early."""
    return str((run.failure() or {})["message"])


def test_done(run: RunDir, machine) -> None:
    files.write_json(run.failed_json, {"message": "an older process"})
    (run.folder / ".done.json.1.tmp").touch()
    assert work([run], machine) == 0
    assert run.state() == "done"
    assert not run.failed_json.exists()
    assert not list(run.folder.glob(".*.tmp"))


def test_missing_data_and_refused_settings(run: RunDir, small, machine, tmp_path: Path) -> None:
    absent = created(small(data__name="cifar10", data__root=str(tmp_path / "none")), machine)
    assert work([absent], machine) == DATA
    assert "CIFAR-10 is not there" in message(absent)
    assert work([created(small(data__val_size=2000), machine)], machine) == DATA
    run.config_json.write_text("{")
    assert work([run], machine) == REFUSED
    assert "config.json" in message(run)


def test_another_process_has_it(run: RunDir, machine, capfd: pytest.CaptureFixture[str]) -> None:
    with files.lock(run.lock):
        assert work([run], machine) == BUSY
    assert "is in use by pid" in capfd.readouterr().err


@pytest.mark.slow
def test_a_signal_while_it_starts_is_no_traceback(run: RunDir, machine) -> None:
    """It is held back, until the process listens."""
    process = start(run, machine, signals.block_signals)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")


def test_no_room_is_found_before_the_first_step(run: RunDir, small, machine, monkeypatch) -> None:
    monkeypatch.setattr(files, "free", lambda folder: 1_000)
    with pytest.raises(files.StorageError, match=r"need 0\.1 MB"):
        context_of(small(), machine)
    assert not run.launches_jsonl.exists()


def test_weights_that_are_no_numbers_are_not_saved(small, machine) -> None:
    context = context_of(small(), machine)
    saver = loop.Saver(context)
    saver.save()
    before = list(context.run.checkpoints.iterdir())
    next(context.state.network.parameters()).data[0] = float("nan")
    context.state.iteration += 1
    saver.save()
    assert list(context.run.checkpoints.iterdir()) == before
    assert len(before) == 1


def test_a_folder_that_is_not_as_it_was_left_is_refused(run: RunDir, small, machine) -> None:
    other = train_here(small(seed=1), machine)
    saved = checkpoint.save(run.checkpoints, 5, checkpoint.newest(other.checkpoints) or b"")
    assert work([run], machine) == REFUSED
    assert f"the newest is a checkpoint of {other.name}, which belongs elsewhere" in message(run)
    assert f"remove {run.folder}" in message(run)

    saved.unlink()
    row = json.dumps({"iteration": 4, "train_error": 90.0, "test_error": 90.0})
    run.curves.write_text(f"{row}\n{row}\n")
    assert work([run], machine) == REFUSED
    assert "curves.jsonl, line 2: iteration=4 behind 4: must rise" in message(run)

    run.curves.unlink()
    run.checkpoints.rmdir()
    run.checkpoints.touch()
    assert work([run], machine) == STORAGE
    assert not run.launches_jsonl.exists() and not run.curves.exists()


@pytest.fixture
def before_each_iteration(monkeypatch) -> Callable[[Callable[[loop.TrainContext], None]], None]:
    """Lets something be done then."""
    advance = loop.advance

    def do(something: Callable[[loop.TrainContext], None]) -> None:
        monkeypatch.setattr(loop, "advance", lambda run: (something(run), advance(run)))

    return do


def test_after_a_stop_the_runs_that_wait_are_not_begun(
    small, machine, before_each_iteration
) -> None:
    """They would write a checkpoint of iteration 0 each."""
    runs = [created(small(seed=seed), machine) for seed in range(3)]

    def stop_in_the_middle(context: loop.TrainContext) -> None:
        if context.state.iteration == 5:
            context.stop.signal = signal.SIGTERM  # type: ignore[attr-defined]

    before_each_iteration(stop_in_the_middle)
    assert work(runs, machine) == 128 + signal.SIGTERM
    assert [len(checkpoint.saved(run.checkpoints)) for run in runs] == [1, 0, 0]
    assert not runs[1].launches_jsonl.exists()


def test_interleaved_runs_have_the_bytes_and_messages_of_their_solo_runs(
    small, machine, tmp_path, before_each_iteration
) -> None:
    before_each_iteration(lambda context: worker.log.warning("in %s", context.config.name))
    configs = [small(), small(model__shortcut="identity"), small(seed=3)]
    packed = [created(config, machine, tmp_path / "packed") for config in configs]
    assert work(packed, machine, at_once=2) == 0
    for run, config in zip(packed, configs, strict=True):
        assert bits(run) == bits(train_here(config, machine))
        messages = [line.split(" ", 1)[1] for line in run.log.read_text().splitlines()]
        assert messages == [f"in {config.name}"] * config.recipe.iterations


def test_runs_of_other_numerics_are_not_interleaved(small, machine, before_each_iteration) -> None:
    """Torch has its settings once for the whole process."""
    configs = [small(seed=s, numerics__deterministic=d) for s, d in ((0, True), (1, False))]
    runs = [created(config, machine) for config in configs]

    def check(context: loop.TrainContext) -> None:
        deterministic = torch.get_deterministic_debug_mode() == 2
        assert deterministic == context.config.numerics.deterministic

    before_each_iteration(check)
    assert work(runs, machine, at_once=2) == 0
