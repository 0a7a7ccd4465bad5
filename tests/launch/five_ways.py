"""One study five ways, and whether its curves are the same bytes.

    python tests/five_ways.py [FOLDER]    a minute or two; what isn't installed is skipped by name

Serial, joblib, SLURM (a controller and two nodes on this machine), Ray (one of its own), and W&B's
agent, which gets its points from a double of the server. Exit status: 1 where two differ, or a way
that is there does not finish.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from degradation.runs.run_dir import runs_in
from degradation.system.paths import TOP
from tests.launch import slurm_here
from tests.tracking.world import world

QUICK = ("recipe.iterations=40", "recipe.milestones=[20]", "recipe.eval_every=10", "machine.device=cpu",
         "machine.progress=none")  # fmt: skip
STUDY = ("-m", "data=digits", "model=plain,residual", "depth=8,20", *QUICK)
POINTS = [(model, depth) for model in ("plain", "residual") for depth in (8, 20)]


class Absent(Exception):
    """What a way needs isn't here."""


def run(runs: Path, *words: str, environment: dict[str, str] | None = None) -> None:
    """The command, in a folder of its own."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "RAY"))}
    given = (*STUDY, f"machine.runs={runs}", "machine.wandb=disabled", *words)
    subprocess.run(
        [sys.executable, "-m", "degradation.run", *given], cwd=runs.parent, check=True,
        capture_output=True, timeout=600, env={**(environment or mine), "PYTHONPATH": str(TOP)},
    )  # fmt: skip


def by_slurm(runs: Path) -> None:
    if why := slurm_here.absent():
        raise Absent(why)
    (folder := runs.parent / "slurm").mkdir()
    with slurm_here.cluster(folder) as environment:
        run(runs, *slurm_here.SLURM, environment=environment)


def by_ray(runs: Path) -> None:
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None:
        raise Absent("no Ray here: pip install 'degradation[ray]'")
    run(runs, "cluster=ray", "+hydra.launcher.ray.init.num_cpus=2")


def by_an_agent(runs: Path) -> None:
    sweep = yaml.safe_load((TOP / "sweeps" / "wandb" / "digits.yaml").read_text())
    sweep["command"] += [*QUICK, f"machine.runs={runs}"]
    (folder := runs.parent / "agent").mkdir()
    with world(folder) as w, w.stub:
        w.stub.sweep = yaml.safe_dump(sweep)
        w.stub.commands = [
            {"type": "run", "program": "degradation.run", "run_id": f"{model}{depth}",
             "args": {"data": {"value": "digits"}, "model": {"value": model},
                      "depth": {"value": depth}, "seed": {"value": 0}}}
            for model, depth in POINTS
        ] + [{"type": "exit"}]  # fmt: skip
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # of `python`
        done = w.call([sys.executable, "-m", "wandb", "agent", "team/project/s"], PATH=path)
        assert done.returncode == 0, done.stderr


WAYS: dict[str, Callable[[Path], None]] = {
    "serial": lambda runs: run(runs, "cluster=serial"),
    "joblib": lambda runs: run(runs, "cluster=joblib"),
    "SLURM": by_slurm,
    "Ray": by_ray,
    "W&B agent": by_an_agent,
}


def main(folder: Path) -> int:
    first: dict[str, bytes] = {}
    wrong = False
    for way, train in WAYS.items():
        runs, began = folder / f"runs-{way.split()[-1].lower()}", time.monotonic()
        try:
            train(runs)
        except Absent as why:
            print(f"{way:10} skipped: {why}")
            continue
        except (subprocess.SubprocessError, AssertionError) as error:
            print(f"{way:10} FAILED: {error}\n{getattr(error, 'stderr', '')}")
            wrong = True
            continue
        curves = {r.name: r.curves.read_bytes() for r in runs_in(runs) if r.state() == "done"}
        first = first or curves
        same = curves == first and len(curves) == len(POINTS)
        wrong |= not same
        print(f"{way:10} {len(curves)} points in {time.monotonic() - began:5.1f} s, curves "
              f"{'the same bytes' if same else 'OTHER BYTES'}", flush=True)  # fmt: skip
    return int(wrong)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()))
