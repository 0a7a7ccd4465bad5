"""How much a mirror delays training: the same point, with and without one, in turn.

    python tests/mirror_delay.py [REPEATS]    default 5; some 20 s each, a line a condition

Two figures of each run: `training`, the seconds that the worker itself counted (timing.jsonl), and
`command`, the whole of `degradation.run`, with the moment that it waits for the mirror in the end.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from mirror_world import TOP, World, world

from degradation.store import Run

CONDITIONS = ("disabled", "to a server", "to a hanging server", "to no server", "to a folder")
POINT = (
    "data=digits", "depth=20", "recipe.iterations=120", "recipe.drops=[]", "recipe.eval_every=10",
    "machine.device=cpu", "machine.progress=none",
)  # fmt: skip


def measure(w: World, condition: str, runs: Path) -> tuple[float, float]:
    """Seconds of training, and of the whole command, under one condition."""
    w.stub.mood = "hang" if "hanging" in condition else "well"
    mode = {"disabled": "disabled", "to a folder": "offline"}.get(condition, "online")
    if condition in ("to no server", "to a folder", "disabled"):
        took = _run(w, mode, runs)
    else:
        with w.stub:
            took = _run(w, mode, runs)
            w.stub.mood = "well"
    (run,) = (Run(path.parent) for path in runs.glob("*/point.json"))
    return sum(row["seconds"] + row["evaluation_seconds"] for row in run.timing()), took


def _run(w: World, mode: str, runs: Path) -> float:
    words = [*POINT, f"machine.runs={runs}", f"machine.wandb={mode}"]
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "degradation.run", *words], check=True, cwd=TOP,
                   env=w.environment, capture_output=True)  # fmt: skip
    return time.perf_counter() - before


def main(repeats: int) -> int:
    figures: dict[str, list[tuple[float, float]]] = {condition: [] for condition in CONDITIONS}
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as w:
        for turn in range(repeats):
            shift = turn % len(CONDITIONS)  # so that none is always first
            for condition in (*CONDITIONS[shift:], *CONDITIONS[:shift]):
                runs = Path(folder) / f"{turn}-{condition.replace(' ', '-')}"
                figures[condition].append(measure(w, condition, runs))
    print(f"{'mirror':22} {'training s':>15} {'delay %':>15} {'command s':>15}   n={repeats}")
    for condition, found in figures.items():
        training, whole = zip(*found, strict=True)
        plain = [one[0] for one in figures["disabled"]]
        delays = [100 * (t / p - 1) for t, p in zip(training, plain, strict=True)]
        print(f"{condition:22} {_spread(training):>15} {_spread(delays):>15} {_spread(whole):>15}")
    return 0


def _spread(values: tuple[float, ...] | list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
