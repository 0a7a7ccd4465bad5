"""cluster=ray on a Ray of its own, with two workers; it skips where Ray is not installed."""

import importlib.util
import os
from pathlib import Path

import pytest

from degradation.runs.run_dir import runs_in
from tests.launch.slurm_here import STUDY, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None,
        reason="no Ray here: pip install 'degradation[ray]'",
    ),
]
FAILS = ["data=cifar10,digits", "recipe=digits", "data.root=/none", "data.download=false"]


def test_a_queue_of_runs_with_one_that_fails(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY", "WANDB"))}
    words = [*STUDY, "recipe.iterations=40", "recipe.eval_every=10", "model=plain,residual"]
    ray = ["cluster=ray", "+hydra.launcher.ray.init.num_cpus=2"]
    status, out, err = train(tmp_path, environment, *words, *FAILS, *ray)
    assert status == 1, err
    states = [run.state() for run in runs_in(tmp_path / "runs")]
    assert states == ["failed", "failed", "done", "done"], err
    assert out.count("CIFAR-10 is not there") == 2
    assert train(tmp_path, environment, *words, "machine.runs=serial")[0] == 0
    ours, serial = runs_in(tmp_path / "runs")[2:], runs_in(tmp_path / "serial")
    assert [r.curves.read_bytes() for r in ours] == [r.curves.read_bytes() for r in serial]
