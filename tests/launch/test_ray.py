"""cluster=ray on a Ray of its own, with two workers; it skips where Ray is not installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.runs.run_dir import runs_in
from tests.launch.slurm_here import STUDY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None,
        reason="no Ray here: pip install 'degradation[ray]'",
    ),
]
FAILS = ["data=cifar10,digits", "recipe=digits", "data.root=/none", "data.download=false"]


def train(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY", "WANDB"))}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "degradation.run",
            *STUDY,
            "recipe.iterations=40",
            "recipe.eval_every=10",
            *words,
        ],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=300,
        env=kept,
    )


def test_a_queue_of_points_with_one_that_fails(tmp_path: Path) -> None:
    queued = train(
        tmp_path,
        *FAILS,
        "model=plain,residual",
        "cluster=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
    )
    assert queued.returncode == 1, queued.stderr
    states = [run.state() for run in runs_in(tmp_path / "runs")]
    assert states == ["failed", "failed", "done", "done"], queued.stderr
    assert queued.stdout.count("CIFAR-10 is not there") == 2
    assert train(tmp_path, "model=plain,residual", "machine.runs=serial").returncode == 0
    ours, serial = runs_in(tmp_path / "runs")[2:], runs_in(tmp_path / "serial")
    assert [r.curves.read_bytes() for r in ours] == [r.curves.read_bytes() for r in serial]
