"""W&B's agents drive the runner: what a sweep file asks for is trained, and lands in its run."""

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from degradation.config import compose
from degradation.system.paths import TOP
from degradation.tracking import keys
from tests.tracking.world import world

SWEEPS = sorted((TOP / "sweeps" / "wandb").glob("*.yaml"))


def overrides(sweep: dict[str, Any]) -> list[list[str]]:
    """The words behind the module of each command that an agent would run."""
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "-m", "${program}"]
    assert sweep["program"] == "degradation.run"
    axes = [
        [(name, value) for value in axis.get("values", [axis.get("value")])]
        for name, axis in sweep["parameters"].items()
    ]
    found = []
    for chosen in itertools.product(*axes):
        given = [f"{name}={value}" for name, value in chosen]
        found.append(
            [
                word
                for part in sweep["command"][4:]
                for word in (given if part == "${args_no_hyphens}" else [part])
            ]
        )
    return found


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("digits", 20)])
def test_the_runs_of_a_sweep_compose(name: str, count: int) -> None:
    sweep = yaml.safe_load((TOP / "sweeps" / "wandb" / f"{name}.yaml").read_text())
    words = overrides(sweep)
    assert len({tuple(each) for each in words}) == count
    for each in (words[0], words[-1]):
        [settings] = compose.runs_of(each)
        assert settings.config.data.name == name


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_sweeps_values_replace_no_other_config_key(path: Path, small) -> None:
    """W&B writes them over the config keys of the same names: those must mean the same."""
    sweep = yaml.safe_load(path.read_text())
    same = set(sweep["parameters"]) & set(keys.config(small(), {}))
    assert same <= {"depth", "seed"}


@pytest.mark.slow
def test_an_agent_trains_the_runs_and_they_land_in_its_own(tmp_path: Path) -> None:
    sweep = yaml.safe_load((TOP / "sweeps" / "wandb" / "digits.yaml").read_text())
    quick = ["recipe.iterations=8", "recipe.milestones=[]", "recipe.eval_every=4", "model.width=2"]
    sweep["command"] += [*quick, "machine.device=cpu"]
    with world(tmp_path) as w, w.stub:
        sweep["command"] += [f"machine.runs={w.runs}"]
        w.stub.sweep = yaml.safe_dump(sweep)
        args = {
            "data": {"value": "digits"},
            "model": {"value": "residual"},
            "depth": {"value": 8},
            "seed": {"value": 3},
        }
        w.stub.commands = [
            {"type": "run", "program": "degradation.run", "run_id": "swept", "args": args},
            {"type": "exit"},
        ]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of `python`
        done = w.call([sys.executable, "-m", "wandb", "agent", "team/project/s"], PATH=path)
        assert done.returncode == 0, done.stderr
        bucket = w.stub.run("swept")
        assert bucket.steps == [4, 8], done.stderr
        assert bucket.fields["sweep"] == "s"
        assert bucket.project == "project"
        assert bucket.config["arm"] == "residual"
        assert bucket.config["depth"] == 8
        (noted,) = (json.loads(p.read_text()) for p in w.runs.glob("*/wandb.json"))
        assert noted["id"] == "swept"
        assert (noted["rows"], noted["result"]) == (2, True)
        assert w.command().stdout.startswith("0 runs sent, 0 left behind, 1 were complete")
