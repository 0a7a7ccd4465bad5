"""A borrowed hour on a GPU, well spent: checks, benchmark, then points of the paper's study.

    degradation bench hour --budget 9m --out DIR [--data ROOT] [--runs RUNS]

The points come in the order of what they tell: plain and residual of 20 and 56 layers, then 32 and
44, then 110, then more seeds, then 1,202; as many at once as the device takes. It ends in time with
everything saved, and goes on when it is called again. DIR gets what is worth keeping, small and
without checkpoints (`degradation bench collect DIR` makes pages of it); RUNS, elsewhere,
keeps the checkpoints for the next call.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from degradation.config import study, validation
from degradation.config.schema import Settings
from degradation.launch import process
from degradation.runs.run_dir import RunDir, runs_in
from degradation.system import files
from degradation.system.paths import TOP

WAVES = (
    "depth=20,56 seed=0", "depth=32,44 seed=0", "depth=110 seed=0",
    "depth=20,56,110 seed=1,2", "depth=1202 seed=0", "depth=20,32,44,56,110 seed=1,2,3,4",
)  # fmt: skip
KEPT = ("config.json", "curves.jsonl", "timing.jsonl", "launches.jsonl", "done.json", "failed.json")
LEAVE = 20.0  # seconds before the end at which points are asked to save and leave, a tenth at most


def main(arguments: list[str]) -> int:
    asked = parser().parse_args(arguments)
    process.stopping.listen()
    try:
        end = time.monotonic() + seconds(asked.budget)
        files.make_folder(asked.out)
        configs = study_points(asked)
    except validation.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    share = 0.3  # of the budget, at most, for each of the first two
    for name, command in (("checks", checks()), ("bench", benchmark(asked))):
        if command and name not in asked.skip and not (asked.runs / f"{name}.done").exists():
            log_to(asked, name, command, (end - time.monotonic()) * share)
    left = end - time.monotonic()
    status = train(configs, left - min(LEAVE, left / 10))
    keep(asked.runs, asked.out)
    done = sum(RunDir.of(s.config, asked.runs).result() is not None for s in configs)
    print(f"{done} of {len(configs)} points are finished; the results are in {asked.out}"
          + ("; the same command goes on" if done < len(configs) else ""))  # fmt: skip
    return status


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="degradation bench hour", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("--budget", default="9m", help="in seconds, or with s, m, h")
    found.add_argument("--out", type=Path, required=True, help="folder for what is worth keeping")
    found.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the run folders")
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    found.add_argument("--numerics", default="reference", help="reference or fast")
    found.add_argument("--skip", nargs="*", default=[], choices=["checks", "bench"])
    found.add_argument("--data", help="data.root, where CIFAR-10 lies")
    found.add_argument(
        "--waves", nargs="*", default=WAVES, help="overrides, a study each, in order"
    )
    found.add_argument("--set", nargs="*", default=[], help="overrides of every run")
    found.add_argument("--bench", default="--all --depths 20,56,110 --rounds 3",
                       help="arguments of the benchmark, as --bench='…'")  # fmt: skip
    return found


def seconds(text: str) -> float:
    """540 for 9m. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise validation.ConfigError(
            f"--budget {text}: must be a number with s, m or h, for example 9m"
        )
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def study_points(asked: argparse.Namespace) -> list[Settings]:
    """All points, each once, in the order of their worth. Raises ConfigError."""
    common = [f"machine.runs={asked.runs}", f"machine.device={asked.device}",
              f"numerics={asked.numerics}", "machine.progress=lines", *asked.set]  # fmt: skip
    if asked.data:
        common.append(f"data.root={asked.data}")
    found: dict[str, Settings] = {}
    for wave in asked.waves:
        line = study.Line.read(["-m", "model=plain,residual", *wave.split(), *common])
        found |= {s.config.name: s for s in study.settings(line) if s.config.name not in found}
    return list(found.values())


def checks() -> list[str]:
    """The command of the tests that need a GPU; none outside a checkout."""
    tests = TOP / "tests"
    return [sys.executable, "-m", "pytest", "-m", "gpu", "-q", str(tests)] if tests.exists() else []


def benchmark(asked: argparse.Namespace) -> list[str]:
    """The command of the benchmark."""
    return [sys.executable, "-m", "degradation.bench", "--device", asked.device,
            "--out", str(asked.out / "bench"), *shlex.split(asked.bench)]  # fmt: skip


def log_to(asked: argparse.Namespace, name: str, command: Sequence[str], limit: float) -> None:
    """Run a command, with its output in DIR/NAME.txt; once, whether it comes to its end or not."""
    files.make_folder(asked.runs)
    print(f"{name}: {' '.join(command)}", flush=True)
    with files.appending(asked.out / f"{name}.txt") as file:
        try:
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=limit)
            print(f"{name}: status {done.returncode}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{name}: cut after {limit:.0f} s", flush=True)
    files.write_atomically(asked.runs / f"{name}.done", b"")


def train(configs: Sequence[Settings], budget: float) -> int:
    """Train what is missing, for `budget` seconds; 0, or 1 where a run failed."""
    missing = [s for s in configs if RunDir.of(s.config, s.machine.runs).result() is None]
    if not missing or budget <= 0:
        return 0
    signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, budget)
    try:
        process.train_together(missing)
    except process.Interrupted:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return int(any(RunDir.of(s.config, s.machine.runs).failure() for s in missing))


def keep(runs: Path, out: Path) -> None:
    """Copy the small files of every run that has rows, or a reason for none."""
    for run in runs_in(runs):
        copy(run, out / "runs" / run.name)
    summary = [{"run": run.name, "state": run.state(), "rows": len(run.rows())}
               for run in runs_in(runs)]  # fmt: skip
    files.write_json(out / "summary.json", summary)


def copy(run: RunDir, folder: Path) -> None:
    """The small files of a run."""
    files.make_folder(folder)
    for name in KEPT:
        if (run.folder / name).exists():
            files.write_atomically(folder / name, (run.folder / name).read_bytes())
