"""The process of one run: its exit status says how it ended."""

import dataclasses
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system import files, signals
from degradation.training import checkpoint, loop
from degradation.training.worker import (
    BUSY,
    DATA,
    REFUSED,
    STORAGE,
    main,
)
from tests.training.train_here import bits, context_of, train_here


def made(config: schema.RunConfig, machine: schema.Machine) -> RunDir:
    run = RunDir.of(config, machine.runs)
    run.create(config)
    return run


def words(run: RunDir, machine: schema.Machine) -> list[str]:
    return [str(run.folder), json.dumps(dataclasses.asdict(machine))]


def message(run: RunDir) -> str:
    """Why the run ended early."""
    return str((run.failure() or {})["message"])


@pytest.mark.usefixtures("deaf")
def test_done(small, machine) -> None:
    run = made(small(), machine)
    files.write_json(run.failed_json, {"message": "an older process"})
    (run.folder / ".done.json.1.tmp").touch()
    assert main(words(run, machine)) == 0
    assert run.state() == "done"
    assert not run.failed_json.exists()
    assert not list(run.folder.glob(".*.tmp"))


@pytest.mark.usefixtures("deaf")
def test_missing_data_and_refused_settings(small, machine, tmp_path: Path) -> None:
    run = made(small(data__name="cifar10", data__root=str(tmp_path / "none")), machine)
    assert main(words(run, machine)) == DATA
    assert "CIFAR-10 is not there" in message(run)
    run = made(small(data__val_size=2000), machine)
    assert main(words(run, machine)) == DATA
    run.config_json.write_text("{")
    assert main(words(run, machine)) == REFUSED
    assert "config.json" in message(run)


@pytest.mark.usefixtures("deaf")
def test_another_process_has_it(small, machine, capfd: pytest.CaptureFixture[str]) -> None:
    run = made(small(), machine)
    with files.lock(run.lock):
        assert main(words(run, machine)) == BUSY
    assert "is in use by pid" in capfd.readouterr().err


@pytest.mark.slow
def test_a_disk_that_refuses_a_checkpoint(small, machine) -> None:
    """A real limit of the kernel's: files of at most 8 kB, and the checkpoint is larger."""
    run, limit = made(small(), machine), (8_192, 8_192)
    full = subprocess.run(
        [sys.executable, "-m", "degradation.training.worker", *words(run, machine)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert full.returncode == STORAGE
    assert "ulimit -f" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(run.checkpoints.iterdir())
    assert (train_here(small(), machine).result() or {})["exact"] is True


def test_no_room_is_found_before_the_first_step(small, machine, monkeypatch) -> None:
    run = made(small(), machine)
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


@pytest.mark.usefixtures("deaf")
def test_a_folder_that_is_not_as_it_was_left_is_refused(small, machine) -> None:
    run, other = made(small(), machine), train_here(small(seed=1), machine)
    content = checkpoint.newest(other.checkpoints)
    assert content is not None
    saved = checkpoint.save(run.checkpoints, 5, content)
    assert main(words(run, machine)) == REFUSED
    assert f"the newest is a checkpoint of {other.name}, which belongs elsewhere" in message(run)
    assert f"remove {run.folder}" in message(run)

    saved.unlink()
    row = json.dumps({"iteration": 4, "train_error": 90.0, "test_error": 90.0})
    run.curves.write_text(f"{row}\n{row}\n")
    assert main(words(run, machine)) == REFUSED
    assert "curves.jsonl, line 2: iteration=4 behind 4: must rise" in message(run)

    run.curves.unlink()
    run.checkpoints.rmdir()
    run.checkpoints.touch()
    assert main(words(run, machine)) == STORAGE
    assert not run.launches_jsonl.exists() and not run.curves.exists()


@pytest.mark.usefixtures("deaf")
def test_after_a_stop_the_runs_that_wait_are_not_begun(small, machine, monkeypatch) -> None:
    """They would write a checkpoint of iteration 0 each."""
    runs = [made(small(seed=seed), machine) for seed in range(3)]
    advance = loop.advance

    def stop_in_the_middle(context: loop.TrainContext) -> None:
        advance(context)
        if context.state.iteration == 5:
            context.stop.signal = signal.SIGTERM  # type: ignore[attr-defined]

    monkeypatch.setattr(loop, "advance", stop_in_the_middle)
    status = main([*(str(run.folder) for run in runs), json.dumps(dataclasses.asdict(machine))])
    assert status == 128 + signal.SIGTERM
    assert [len(checkpoint.saved(run.checkpoints)) for run in runs] == [1, 0, 0]
    assert not runs[1].launches_jsonl.exists()


@pytest.mark.usefixtures("deaf")
def test_interleaved_runs_have_the_bytes_of_their_solo_runs(small, machine, tmp_path) -> None:
    configs = [small(), small(model__shortcut="identity"), small(seed=3)]
    solo = [train_here(config, machine, tmp_path / "solo") for config in configs]
    packed = [RunDir(tmp_path / "packed" / config.name) for config in configs]
    for run, config in zip(packed, configs, strict=True):
        run.create(config)
    words = json.dumps(dataclasses.asdict(dataclasses.replace(machine, runs_per_gpu=2)))
    assert main([*(str(run.folder) for run in packed), words]) == 0
    for run, alone in zip(packed, solo, strict=True):
        assert bits(run) == bits(alone)
        own = run.name.rpartition("-")[0]
        assert all(own in line for line in run.log.read_text().splitlines())


@pytest.mark.usefixtures("deaf")
def test_runs_of_other_numerics_are_not_interleaved(small, machine, monkeypatch) -> None:
    """Torch has its settings once for the whole process."""
    configs = [small(seed=s, numerics__deterministic=d) for s, d in ((0, True), (1, False))]
    runs = [made(config, machine) for config in configs]
    advance = loop.advance

    def check_and_advance(context: loop.TrainContext) -> None:
        deterministic = torch.get_deterministic_debug_mode() == 2
        assert deterministic == context.config.numerics.deterministic
        advance(context)

    monkeypatch.setattr(loop, "advance", check_and_advance)
    two = json.dumps(dataclasses.asdict(dataclasses.replace(machine, runs_per_gpu=2)))
    assert main([*(str(run.folder) for run in runs), two]) == 0


@pytest.mark.slow
def test_a_signal_while_it_starts_is_no_traceback(small, machine) -> None:
    """As `run` starts it: held back, until it listens."""
    run = made(small(), machine)
    process = subprocess.Popen(
        [sys.executable, "-m", "degradation.training.worker", *words(run, machine)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals.block_signals,
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
