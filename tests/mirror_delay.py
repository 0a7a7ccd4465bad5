"""How much a mirror delays training: the same point, with and without one, in turn.

    python tests/mirror_delay.py [REPEATS]    default 5; some 20 s each, a line a condition

The process that trains never talks to W&B, so a mirror can only take a core from it, or slow down
what it does there. Linux counts both, and they are what is compared, by pairs of one turn: `busy`,
the seconds that the process spent on a core, and `waiting`, those that it was ready to run and had
none (/proc/PID/schedstat); other work on the machine disturbs them less than a clock. `command` is
the whole of `degradation.run`, with the moment that it waits for the mirror in the end.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

from mirror_world import TOP, World, world

CONDITIONS = ("disabled", "to a server", "to a hanging server", "to no server", "to a folder")
POINT = (
    "data=digits", "depth=20", "recipe.iterations=300", "recipe.drops=[]", "recipe.eval_every=10",
    "machine.device=cpu", "machine.progress=none",
)  # fmt: skip
LOOK = 0.05


@dataclass(frozen=True)
class Took:
    """Seconds of one run."""

    busy: float
    waiting: float
    command: float

    @property
    def training(self) -> float:
        return self.busy + self.waiting


def measure(w: World, condition: str, runs: Path) -> Took:
    """One run under one condition."""
    w.stub.mood = "hang" if "hanging" in condition else "well"
    mode = {"disabled": "disabled", "to a folder": "offline"}.get(condition, "online")
    if condition in ("to no server", "to a folder", "disabled"):
        return _run(w, mode, runs)
    with w.stub:
        took = _run(w, mode, runs)
        w.stub.mood = "well"
    return took


def _run(w: World, mode: str, runs: Path) -> Took:
    words = [*POINT, f"machine.runs={runs}", f"machine.wandb={mode}"]
    before, spent = time.perf_counter(), (0.0, 0.0)
    trains: Path | None = None
    with subprocess.Popen([sys.executable, "-m", "degradation.run", *words], cwd=TOP,
                          env=w.environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        while process.poll() is None:
            trains = trains or _training(process.pid)
            spent = (trains and _spent(trains)) or spent
            time.sleep(LOOK)
    assert process.returncode == 0
    return Took(*spent, time.perf_counter() - before)


def _training(parent: int) -> Path | None:
    """The process that trains, among the children of the command."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        place = Path("/proc", child)
        if b"degradation.worker" in (place / "cmdline").read_bytes():
            return place
    return None


def _spent(process: Path) -> tuple[float, float] | None:
    """Seconds on a core and waiting for one, so far; None once it has ended."""
    try:
        busy, waiting, _ = (process / "schedstat").read_text().split()
    except OSError:
        return None
    return (int(busy) / 1e9, int(waiting) / 1e9) if int(busy) else None


def main(repeats: int) -> int:
    figures: dict[str, list[Took]] = {condition: [] for condition in CONDITIONS}
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as w:
        for turn in range(repeats):
            shift = turn % len(CONDITIONS)  # so that none is always first
            for condition in (*CONDITIONS[shift:], *CONDITIONS[:shift]):
                runs = Path(folder) / f"{turn}-{condition.replace(' ', '-')}"
                figures[condition].append(measure(w, condition, runs))
    print(f"{'mirror':20} {'busy s':>14} {'waiting s':>13} {'delay %, median':>24} "
          f"{'command s':>14}   n={repeats}")  # fmt: skip
    for condition, found in figures.items():
        pairs = zip(found, figures["disabled"], strict=True)
        delays = [100 * (ours.training / plain.training - 1) for ours, plain in pairs]
        print(f"{condition:20} {_spread([f.busy for f in found]):>14} "
              f"{_spread([f.waiting for f in found]):>13} "
              f"{f'{median(delays):.2f} [{min(delays):.2f}, {max(delays):.2f}]':>24} "
              f"{_spread([f.command for f in found]):>14}")  # fmt: skip
    return 0


def _spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
