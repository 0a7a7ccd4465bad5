"""W&B's agents drive the runner: what a sweep file asks for is trained, and lands in its run."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from degradation.config import compose
from degradation.system.paths import TOP
from degradation.tracking import keys
from tests.tracking.conftest import World

SWEEPS = TOP / "sweeps" / "wandb"


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((SWEEPS / f"{name}.yaml").read_text())


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("digits", 20)])
def test_the_runs_of_a_sweep_compose(name: str, count: int, small) -> None:
    sweep = read(name)
    assert sweep["command"][:4] == ["${env}", "${interpreter}", "-m", "${program}"]
    assert sweep["program"] == "degradation.run"
    fixed = [word for word in sweep["command"][4:] if word != "${args_no_hyphens}"]
    axes = sweep["parameters"].items()
    values = {axis: own.get("values", [own.get("value")]) for axis, own in axes}
    assert math.prod(map(len, values.values())) == count
    for place in (0, -1):
        given = [f"{axis}={own[place]}" for axis, own in values.items()]
        [settings] = compose.runs_of([*given, *fixed])
        assert settings.config.data.name == name
    # W&B writes a sweep's values over the config keys of the same names: they must mean the same.
    assert set(sweep["parameters"]) & set(keys.config(small(), {})) <= {"depth", "seed"}


@pytest.mark.slow
def test_an_agent_trains_the_runs_and_they_land_in_its_own(w: World) -> None:
    sweep = read("digits")
    quick = ["recipe.iterations=8", "recipe.milestones=[]", "recipe.eval_every=4", "model.width=2"]
    sweep["command"] += [*quick, "machine.device=cpu", f"machine.runs={w.runs}"]
    w.server.sweep = yaml.safe_dump(sweep)
    chosen = {"data": "digits", "model": "residual", "depth": 8, "seed": 3}
    args = {name: {"value": value} for name, value in chosen.items()}
    run = {"type": "run", "program": "degradation.run", "run_id": "swept", "args": args}
    w.server.commands = [run, {"type": "exit"}]
    w.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of `python`
    with w.server:
        done = w.call([sys.executable, "-m", "wandb", "agent", "team/project/s"])
        assert w.command().stdout.startswith("0 runs sent, 0 left behind, 1 were complete")
    assert done.returncode == 0, done.stderr
    bucket = w.server.buckets["swept"]
    assert bucket.steps == [4, 8], done.stderr
    assert (bucket.fields["sweep"], bucket.fields["project"]) == ("s", "project")
    assert (bucket.config["arm"], bucket.config["depth"]) == ("residual", 8)
    (noted,) = (json.loads(p.read_text()) for p in w.runs.glob("*/wandb.json"))
    assert (noted["id"], noted["rows"], noted["result"]) == ("swept", 2, True)
