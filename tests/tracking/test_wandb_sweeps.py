"""W&B's agents drive the runner: what a sweep file asks for is trained, and lands in its run."""

import json
import os
import sys
from itertools import product
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


def command_lines(sweep: dict[str, Any]) -> list[list[str]]:
    """The words behind the module of each command that an agent would run."""
    program, words = sweep["command"][:4], sweep["command"][4:]
    assert program == ["${env}", "${interpreter}", "-m", "${program}"]
    assert sweep["program"] == "degradation.run"
    axes = [
        [f"{name}={value}" for value in axis.get("values", [axis.get("value")])]
        for name, axis in sweep["parameters"].items()
    ]
    place = words.index("${args_no_hyphens}")
    return [[*words[:place], *given, *words[place + 1 :]] for given in product(*axes)]


@pytest.mark.parametrize(("name", "count"), [("cifar10", 10), ("digits", 20)])
def test_the_runs_of_a_sweep_compose(name: str, count: int, small) -> None:
    sweep = read(name)
    lines = command_lines(sweep)
    assert len({tuple(line) for line in lines}) == count
    for line in (lines[0], lines[-1]):
        [settings] = compose.runs_of(line)
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
