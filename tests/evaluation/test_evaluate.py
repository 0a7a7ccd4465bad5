"""Finished ImageNet runs tested by ten crops and scales, as a command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from degradation.data import sources
from degradation.data.image_folder import decode
from degradation.evaluation import imagenet, multi_crop, weights
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop
from degradation.training import checkpoint
from degradation.training.devices.interleave import finish
from degradation.training.state import fresh
from degradation.training.worker import work
from tests.data import photographs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs.make(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture
def run(root: Path, machine) -> RunDir:
    config = photographs.config(root, depth=18, model__design="imagenet", recipe__iterations=2,
                              recipe__milestones=[])  # fmt: skip
    found = RunDir.of(config, machine.runs)
    found.create(config)
    finish(work(found, machine, Stop()))
    return found


def test_a_run_is_tested_and_its_errors_are_said(run: RunDir, capsys) -> None:
    assert imagenet.main([str(run.folder.parent), "--device", "cpu", "--batches", "2"]) == 0
    found = json.loads(run.evaluation.read_text())
    assert found["images"] == 6 and found["batches"] == 2
    for averages in ("running", "true"):
        assert set(found[averages]) == {"ten_crops", "scales"}
        for errors in found[averages].values():
            assert errors["images"] == 6 and errors["top5"] == 0  # of three classes
    top1 = found["true"]["ten_crops"]["top1"]
    said = f"{run.name}: ten crops (running averages)"
    out = capsys.readouterr().out
    assert said in out and f"ten crops (true averages) {top1:.2f} / 0.00 %" in out


def test_what_is_tested_is_what_was_trained(run: RunDir) -> None:
    """A center crop through the same preparation is the curve's own test error."""
    source = sources.load(run.config().data)
    assert isinstance(source, sources.Folder)
    network = fresh(run.config(), source, torch.device("cpu")).network
    weights.fit(network, weights.named(checkpoint.decode(checkpoint.newest(run.checkpoints))[0]))
    ready = imagenet.Ready(source, torch.device("cpu"))
    wrong = 0
    network.eval()
    for path, label in zip(source.test.paths, source.test.labels, strict=True):
        crop = decode.centre_view(source.manifest.root / path, 32, 36)
        with torch.no_grad():
            wrong += int(network(ready(np.asarray(crop))[None]).argmax()) != label
    assert run.rows()[-1]["test_error"] == round(100 * wrong / 6, 4)
    assert multi_crop.HALVINGS == 32


def test_one_test_of_few_images_with_running_averages(run: RunDir) -> None:
    words = [str(run.folder), "--device", "cpu", "--batches", "0", "--most", "2"]
    assert imagenet.main([*words, "--only", "ten_crops"]) == 0
    found = json.loads(run.evaluation.read_text())
    assert found["running"]["ten_crops"]["images"] == found["images"] == 2
    assert list(found["running"]) == ["ten_crops"] and found["true"] == {}


def test_what_it_cannot_test_is_said(tmp_path: Path, small, machine, capsys) -> None:
    assert imagenet.main([str(tmp_path)]) == 2
    assert "must be a run, or a folder with a finished one" in capsys.readouterr().err
    digits = RunDir.of(small(), machine.runs)
    digits.create(small())
    finish(work(digits, machine, Stop()))
    assert imagenet.main([str(digits.folder), "--device", "cpu"]) == 2
    assert "images have one size there" in capsys.readouterr().err
