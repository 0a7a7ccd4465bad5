"""A run on a folder of images: the same bytes after a stop, and none on other images."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from degradation.data.dataset import DataError
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop, Stopped
from degradation.training import checkpoint, loop, setup, worker
from degradation.training.devices.interleave import drain
from tests.conftest import After
from tests.data import photographs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photographs.make(tmp_path / "set")


def made(root: Path, runs: Path) -> RunDir:
    config = photographs.config(root)
    run = RunDir.of(config, str(runs))
    run.create(config)
    return run


def test_a_stopped_run_goes_on_to_the_same_bytes(root: Path, tmp_path: Path, machine) -> None:
    """Also with another number of workers."""
    one, none = (dataclasses.replace(machine, workers=workers) for workers in (1, 0))
    whole = made(root, tmp_path / "whole")
    drain(worker.train_to_result(whole, one, Stop()))
    start = json.loads(whole.launches_jsonl.read_text().splitlines()[0])
    assert start["data"]["train"] == 12 and start["fingerprint"]["pillow"]
    run = made(root, tmp_path / "cut")
    with pytest.raises(Stopped):
        drain(loop.train(setup.prepare(run, none, After(5))))  # type: ignore[arg-type]
    drain(worker.train_to_result(run, one, Stop()))
    assert run.curves.read_bytes() == whole.curves.read_bytes()
    assert checkpoint.newest(run.checkpoints) == checkpoint.newest(whole.checkpoints)


def test_a_run_does_not_go_on_on_other_images(root: Path, tmp_path: Path, machine) -> None:
    run = made(root, tmp_path / "runs")
    drain(worker.train_to_result(run, machine, Stop()))
    run.done_json.unlink()
    photographs.image(7, 50, 50).save(root / "train/ants/new.JPEG")
    with pytest.raises(ValueError, match="other data"):
        setup.prepare(run, machine, Stop())


def test_an_image_that_breaks_ends_the_run_with_its_name(root, tmp_path: Path, machine) -> None:
    run = made(root, tmp_path / "runs")
    os.truncate(root / "train/bees/bees_1.JPEG", 500)
    with pytest.raises(DataError, match=r"bees_1\.JPEG"):
        drain(worker.train_to_result(run, machine, Stop()))
