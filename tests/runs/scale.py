"""The store at the size of a cluster's study: does it keep up, and what does looking at it cost?

    python tests/scale.py FOLDER [--points 10000] [--writers 2] [--seconds 20] [--devices 500]

It makes run folders as they lie half-way through a study (a third done, a third running with rows
and checkpoints, a third missing), lets writers add rows and checkpoints to the running ones as fast
as they can, as the recorder and the checkpoint do, and meanwhile takes the time of `status`, of the
skip of finished points and of `plan`. The need is computed: a row every `--row` seconds a device.
FOLDER is left as it is, to look at.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from degradation.commands.estimate import disk
from degradation.config import schema, study
from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir
from degradation.system import files as storage

ROW = {"iteration": 0, "epoch": 12.8, "lr": 0.1, "train_loss": 0.654321, "train_error": 12.3456,
       "test_loss": 0.765432, "test_error": 23.4567}  # fmt: skip
TIMING = {"iteration": 0, "seconds": 12.3456, "evaluation_seconds": 0.1234,
          "images_per_second": 10_000.0, "at": "2026-01-01T00:00:00Z"}  # fmt: skip


def words(configs: int, runs: Path) -> list[str]:
    """A study of so many points."""
    axes = ["model=plain,residual", "depth=20,32,44,56,110", f"seed=range({configs // 10})"]
    return ["-m", *axes, f"machine.runs={runs}"]


def rows(count: int) -> str:
    return "".join(json.dumps(ROW | {"iteration": 1000 * n}) + "\n" for n in range(1, count + 1))


def make(configs: Sequence[RunConfig], runs: Path) -> list[RunDir]:
    """The folders; those that are being trained."""
    running = []
    for number, config in enumerate(configs):
        run = RunDir.of(config, runs)
        if number % 3 == 2:
            continue
        run.checkpoints.mkdir(parents=True)
        run.config_json.write_text(json.dumps(schema.plain(config), indent=1))
        run.launches_jsonl.write_text(json.dumps({"at": "2026", "digests": {}, "fingerprint": {}}) + "\n")
        run.lock.write_text("")
        run.curves.write_text(rows(64 if number % 3 == 0 else 32))
        run.timing_jsonl.write_text(rows(32))
        if number % 3 == 0:
            last = ROW | {"iteration": 64_000}
            run.done_json.write_text(json.dumps({"outcome": "done", "last": last}))
        else:
            running.append(run)
    return running


def write(
    mine: Sequence[RunDir], size: int, end: float, told: "multiprocessing.Queue[tuple]"
) -> None:
    """Rows, each with its line of timing and now and then a checkpoint, until `end`."""
    content, added, saved, slowest = os.urandom(size), 0, 0, 0.0
    while time.time() < end:
        for run in mine:
            began = time.perf_counter()
            storage.append_line(run.curves, json.dumps(ROW | {"iteration": 32_000 + added}))
            storage.append_line(run.timing_jsonl, json.dumps(TIMING))
            added += 1
            slowest = max(slowest, time.perf_counter() - began)
            if added % 10 == 0:
                storage.write_atomically(run.checkpoints / f"trial-{saved % 2}", content)
                saved += 1
            if time.time() >= end:
                break
    told.put((added, saved, slowest))


def seconds(module: str, *arguments: str) -> float:
    """Of a command; what it prints is not looked at."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", f"degradation.{module}", *arguments],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - began


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--row", type=float, default=5, help="seconds between a device's rows")
    asked = parser.parse_args(arguments)
    line = words(asked.configs, asked.folder.absolute())
    began = time.process_time()
    configs = [s.config for s in study.settings(study.Line.read(line))]
    print(f"{len(configs):,} points enumerated in {time.process_time() - began:.1f} s of a core")
    running = make(configs, asked.folder)
    files = sum(len(names) for _, _, names in os.walk(asked.folder))
    print(f"{files:,} files; all points done need {sum(map(disk, configs)) / 1e9:,.0f} GB, "
          f"{11 * len(configs):,} files")  # fmt: skip
    for name, command in (("status of the folder", ["status", "--brief", line[-1]]),
                          ("status of the study", ["status", "--brief", *line]),
                          ("plan, no probe", ["plan", "--no-probe", *line])):  # fmt: skip
        print(f"{name}: {seconds(*command):.1f} s")
    size = int(disk(configs[0]) / 2)
    told: multiprocessing.Queue[tuple[int, int, float]] = multiprocessing.Queue()
    end = time.time() + asked.seconds
    writers = [
        multiprocessing.Process(target=write, args=(running[n :: asked.writers], size, end, told))
        for n in range(asked.writers)
    ]
    for process in writers:
        process.start()
    meanwhile = seconds("status", "--brief", line[-1])
    found = [told.get() for _ in writers]
    for process in writers:
        process.join()
    added, saved = (sum(each[n] for each in found) for n in (0, 1))
    slowest = 1e3 * max(each[2] for each in found)
    need = asked.devices / asked.row
    print(
        f"{asked.writers} writers: {added / asked.seconds:,.0f} rows and "
        f"{saved / asked.seconds:,.0f} checkpoints of {size / 1e6:.1f} MB a second, the slowest "
        f"row {slowest:.0f} ms; status meanwhile: {meanwhile:.1f} s\n"
        f"{asked.devices} devices with a row every {asked.row:g} s need {need:,.0f} rows a second"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
