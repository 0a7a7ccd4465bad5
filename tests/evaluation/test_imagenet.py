"""Finished ImageNet runs tested by ten crops and scales, as a command."""

import json
from pathlib import Path

import pytest
import torch

from degradation.commands import evaluate
from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.device_loader import Placement
from degradation.evaluation import imagenet, weights
from degradation.runs.run_dir import RunDir, RunDirError
from tests.data import photographs
from tests.training.train_here import train_here


@pytest.fixture
def run(tmp_path: Path, machine) -> RunDir:
    root = photographs.make(tmp_path / "set")
    recipe = {"recipe__iterations": 2, "recipe__milestones": []}
    config = photographs.config(root, depth=18, model__design="imagenet", **recipe)
    return train_here(config, machine)


def test_a_run_is_tested_and_its_errors_are_said(run: RunDir, capsys, monkeypatch) -> None:
    monkeypatch.setattr(imagenet, "BATCHES", 2)
    assert evaluate.main(["crops", str(run.folder.parent), "--device=cpu"]) == 0
    found = json.loads(run.evaluation.read_text())
    assert (found["images"], found["classes"], found["batches"]) == (6, 3, 2)
    for averages in ("running", "true"):
        assert set(found[averages]) == {"ten_crops", "scales"}
        for errors in found[averages].values():
            assert errors["images"] == 6 and errors["top5"] == 0  # of three classes
    top1 = found["true"]["ten_crops"]["top1"]
    assert f"{run.name}: ten crops (running averages)" in (out := capsys.readouterr().out)
    assert f"ten crops (true averages) {top1:.2f} / 0.00 %" in out


@torch.no_grad()
def test_what_is_tested_is_what_was_trained(run: RunDir) -> None:
    config, cpu = run.config(), torch.device("cpu")
    dataset = sources.load(config.data)
    network = weights.trained_network(run, dataset, cpu).eval()
    images = loaders.eval_loader(dataset, "test", config, Placement(cpu))
    wrong = sum(int((network(x).argmax(1) != labels).sum()) for x, labels in images)
    assert run.rows()[-1]["test_error"] == round(100 * wrong / 6, 4)


def test_what_it_cannot_test_is_said(tmp_path: Path, small, machine) -> None:
    with pytest.raises(RunDirError, match="must be a run, or a folder with a finished one"):
        evaluate.main(["crops", str(tmp_path)])
    digits = train_here(small(), machine)
    with pytest.raises(ConfigError, match="needs data=imagenet"):
        evaluate.main(["crops", str(digits.folder), "--device=cpu"])
