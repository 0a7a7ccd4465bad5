"""How much a mirror delays training, within one run: it is stopped for every other iteration.

    python tests/mirror_delay.py [ROWS]    default 200: some two minutes and a line a condition

The process that trains never talks to W&B, so a mirror can only take a core from it, or slow down
what it does there. A run is trained here as a worker trains it, with a row every 11 iterations;
all processes of the mirror are stopped (SIGSTOP) for one of two iterations and go on (SIGCONT) for
the other, in which they do what there is to do for both, by turns A B, B A. `delay` is how much
longer the iterations beside a running mirror took, all in all, with its 95 % interval (by pairs);
`waiting` is how long training was ready to run and had no core, of the time
(/proc/self/schedstat). Without a mirror the same line shows the method's own error.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from degradation.config import compose
from degradation.runs.run_dir import RunDir
from degradation.tracking import follow
from degradation.tracking.follow import Feed
from degradation.training import loop, setup
from tests.tracking.mirror_world import World, world

CONDITIONS = ("no mirror", "to a server", "to a hanging server", "to no server", "to a folder")
SERVED = ("to a server", "to a hanging server")
MODES = {"no mirror": "disabled", "to a folder": "offline"}
PAIRS = 5  # a row
EVERY = 2 * PAIRS + 1  # the last one has the evaluation, and isn't compared
REAL = follow.command
Pairs = list[tuple[float, float]]
"""Seconds of an iteration without the mirror, and of one with it."""


@dataclass(frozen=True)
class Took:
    """What one run showed."""

    pairs: Pairs
    waiting: float
    """Percent of the time."""
    arrived: int
    """Rows on the server: a mirror that does nothing would delay nothing."""

    def __str__(self) -> str:
        without = mean(a for a, _ in self.pairs)
        differences = [100 * (b - a) / without for a, b in self.pairs]
        reach = 1.96 * stdev(differences) / len(differences) ** 0.5
        delay = mean(differences)
        spread = f"{delay:+.2f} [{delay - reach:+.2f}, {delay + reach:+.2f}]"
        return f"{1e3 * without:>13.1f} {spread:>24} {self.waiting:>10.2f} {self.arrived:>6}"


def measure(w: World, condition: str, runs: Path, rows: int) -> Took:
    """One run under one condition, in a process of its own: the server's work isn't training's."""
    mode, served = MODES.get(condition, "online"), condition in SERVED
    w.stub.mood = "hang" if "hanging" in condition else "well"
    fork = multiprocessing.get_context("fork")
    with w.stub if served else nullcontext(), ProcessPoolExecutor(1, fork) as process:
        name, pairs, waiting = process.submit(_train, mode, runs, rows).result()
        bucket = w.stub.buckets.get(name) if condition == "to a server" else None
        w.stub.mood = "well"
    return Took(pairs, waiting, len(bucket.lines) if bucket else 0)


def _train(mode: str, runs: Path, rows: int) -> tuple[str, Pairs, float]:
    """The run's name, and what it showed; it ends without waiting for the mirror."""
    torch.set_num_threads(1)
    loop.SAVE_SHARE = 10**9  # a save would count as a delay of the iteration it comes before
    follow.command = REAL
    words = [
        "data=digits", "depth=20", f"recipe.iterations={rows * EVERY}", "recipe.milestones=[]",
        f"recipe.eval_every={EVERY}", "machine.device=cpu", "machine.progress=none",
        f"machine.runs={runs}", f"machine.wandb={mode}",
    ]  # fmt: skip
    [asked] = compose.runs_of(words)
    run = RunDir.of(asked.config, runs)
    run.create(asked.config)
    turns = loop.train(setup.prepare(run, asked.machine, lambda: False))
    feed = Feed()
    feed.begin(run, asked)
    pairs: Pairs = []
    waited, began = _waiting(), time.monotonic()
    for row in range(rows):
        next(turns)  # with the row before it
        pairs += [_pair(feed, turns, first=(row + i) % 2) for i in range(PAIRS)]
    waiting = 100 * (_waiting() - waited) / (time.monotonic() - began)
    if feed.process is not None:
        os.killpg(feed.process.pid, signal.SIGKILL)
        feed.leave([])
    return run.name, pairs, waiting


def _pair(feed: Feed, turns: loop.Turns[dict[str, object]], first: int) -> tuple[float, float]:
    """Two iterations; the one number `first` is without the mirror."""
    took = [0.0, 0.0]
    for number in (0, 1):
        _let(feed, run=number != first)
        before = time.perf_counter()
        next(turns)
        took[number != first] = time.perf_counter() - before
    _let(feed, run=True)
    return took[0], took[1]


def _let(feed: Feed, *, run: bool) -> None:
    if feed.process is not None:
        os.killpg(feed.process.pid, signal.SIGCONT if run else signal.SIGSTOP)


def _waiting() -> float:
    """Seconds for which this process has been ready to run and had no core."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def main(rows: int, conditions: Sequence[str] = CONDITIONS) -> int:
    print(f"{'mirror':20} {'iteration ms':>12} {'delay %':>24} {'waiting %':>10} {'sent':>6}"
          f"   of {rows} rows")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as w:
        for condition in conditions:
            took = measure(w, condition, Path(folder, condition.replace(" ", "-")), rows)
            print(f"{condition:20} {took}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
