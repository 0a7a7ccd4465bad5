"""What a study would train, and what that costs, before it costs anything.

    degradation plan +sweeps=figure6
    degradation plan -m model=plain,residual depth=20,56 data=digits
    python -m degradation.run +sweeps=figure6 --dry-run          the same

    --no-probe    without time and memory: nothing is tried on this device
    --points      a line a point, however many there are
    --json        the same for programs

Every run is composed and checked. A network's time and memory are tried on this device for a few
seconds, on images of noise, and follow a line in depth (see `estimate`); the rest is counted.
Nothing is trained, and nothing is written. Exit status: 0, 2 refused, 1 if the device can't be
tried, or doesn't have what the study needs.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.commands import estimate
from degradation.config import schema, study, validation
from degradation.config.schema import Settings
from degradation.launch import gpus, process
from degradation.runs import progress
from degradation.runs.progress import RunProgress
from degradation.runs.run_dir import RunDirError
from degradation.system import files

BUSY = 1.15
MOST_LINES = 40  # points; more are shown by network
OF_STATE = {"done": "done", "diverged": "done", "missing": "missing"}


@dataclass(frozen=True)
class Line:
    """One run, or several that differ in nothing that costs."""

    name: str
    entries: list[RunProgress]
    cost: list[estimate.Cost] | None
    """Of each, what is left; None where it was not tried."""

    @property
    def parameters(self) -> int:
        return estimate.work(self.entries[0].config).parameters

    @property
    def operations(self) -> float:
        """Of what is left to train."""
        return sum(estimate.training_operations(e.config, left(e)) for e in self.entries)

    @property
    def disk(self) -> float:
        """Bytes of all, done or not."""
        return sum(estimate.disk(e.config) for e in self.entries)

    @property
    def hours(self) -> float | None:
        """Device-hours left."""
        return None if self.cost is None else sum(c.seconds for c in self.cost) / 3600

    @property
    def memory(self) -> float | None:
        return None if self.cost is None else max(c.memory for c in self.cost)

    def count(self, state: str) -> int:
        """How many are done, missing, or partial: everything between."""
        return sum(OF_STATE.get(e.state, "partial") == state for e in self.entries)

    @property
    def begun(self) -> str:
        """`31,000 of 64,000` iterations of what is partial."""
        partial = [e for e in self.entries if OF_STATE.get(e.state, "partial") == "partial"]
        if not partial:
            return ""
        done = sum(e.iteration for e in partial)
        return f"{done:,} of {sum(e.config.recipe.iterations for e in partial):,} iterations"


def left(entry: RunProgress) -> int:
    """Iterations that are still to be trained."""
    return 0 if entry.finished else entry.config.recipe.iterations - entry.iteration


@dataclass(frozen=True)
class Device:
    """What was tried on, and what came out."""

    name: str
    memory: float | None
    """Bytes, of a GPU."""
    lines: estimate.Lines
    busy: float
    """How many times as long everything took as it had the core."""


def probe(asked: Sequence[Settings], together: bool) -> Device:
    """Try this device for a few seconds, in a process of its own. Raises Untried."""
    settings = asked[0]
    machine = schema.plain(settings.machine)
    if not together:
        machine["pack"] = 1
    configs = [schema.plain(p) for p in estimate.to_try(s.config for s in asked)]
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "degradation.commands.trial", json.dumps(configs), json.dumps(machine)],
        capture_output=True, text=True, env=process.environment(settings.machine.threads),
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise Untried(f"the device could not be tried: {last}; --no-probe plans without time and "
                      "memory")  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    trials = defaultdict(list)
    for one in found["trials"]:
        kind, first = one.pop("kind"), one.pop("first")
        trials[kind].append(estimate.Trial(**one))
    start = found["imported"] - began + first
    return Device(found["device"], found["memory"], estimate.Lines(trials, start),
                  found["busy"])  # fmt: skip


class Untried(RuntimeError):
    """A probe that failed; the message is meant for people."""


def lines_of(found: Sequence[RunProgress], device: Device | None, by_point: bool) -> list[Line]:
    """A line a run, or a network and length."""
    groups: dict[str, list[RunProgress]] = defaultdict(list)
    for entry in found:
        config = entry.config
        key = config.name if by_point else f"{entry.network}, {config.recipe.iterations:,}"
        groups[key].append(entry)
    return [Line(name, group, _costs(group, device)) for name, group in groups.items()]


def _costs(group: Sequence[RunProgress], device: Device | None) -> list[estimate.Cost] | None:
    if device is None:
        return None
    costs = [
        estimate.Cost(0.0, 0.0) if e.finished else device.lines.cost(e.config, e.iteration)
        for e in group
    ]
    return None if None in costs else [c for c in costs if c is not None]


def table(lines: Sequence[Line]) -> str:
    """The lines, with a head and totals."""
    width = max(len("network, iterations"), *(len(line.name) for line in lines))
    head = ["points", "done", "partial", "missing", "parameters", "PFLOP left", "memory", "disk",
            "hours left"]  # fmt: skip
    rows = [[line.name, *_cells(line)] for line in lines]
    total = Line("total", [e for line in lines for e in line.entries],
                 None if any(line.cost is None for line in lines)
                 else [c for line in lines for c in line.cost or []])  # fmt: skip
    cells = _cells(total)
    cells[4] = ""
    rows.append(["total", *cells])
    text = [" " * width + "".join(f"{name:>12}" for name in head)]
    for (name, *cells), line in zip(rows, [*lines, total], strict=True):
        shown = f"{name:{width}}" + "".join(f"{cell:>12}" for cell in cells)
        text.append(f"{shown}  {line.begun}".rstrip())
    return "\n".join(text)


def _cells(line: Line) -> list[str]:
    return [
        str(len(line.entries)),
        *(str(line.count(state) or "–") for state in ("done", "partial", "missing")),
        f"{line.parameters:,}",
        f"{line.operations / 1e15:,.3g}",
        "–" if line.memory is None else f"{line.memory / 1e9:.2f} GB",
        _size(line.disk),
        "–" if line.hours is None else _hours(line.hours),
    ]


def _size(size: float) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.3f}"


def concerns(lines: Sequence[Line], device: Device | None, runs: Path) -> list[str]:
    """What this machine doesn't have that the study needs."""
    found = []
    need = sum(line.disk for line in lines) - sum(_used(line) for line in lines)
    there = next(folder for folder in [runs, *runs.absolute().parents] if folder.exists())
    if need > (have := files.free(there)):
        found.append(f"disk: {_size(need)} still to be written to {runs}, {_size(have)} free; "
                     "say machine.runs=OTHER")  # fmt: skip
    if device is None or device.memory is None:
        return found
    found += [
        f"memory: {line.name} needs {_size(line.memory)}, {device.name} has {_size(device.memory)}"
        for line in lines
        if line.memory is not None and line.memory > device.memory
    ]
    return found


def _used(line: Line) -> float:
    return sum(estimate.disk(e.config) for e in line.entries if e.state != "missing")


def as_json(lines: Sequence[Line], device: Device | None) -> str:
    """An object: the device, totals, and one object a line."""

    def one(line: Line) -> dict[str, Any]:
        return {
            "name": line.name,
            "points": len(line.entries),
            **{state: line.count(state) for state in ("done", "partial", "missing")},
            "iterations_left": sum(map(left, line.entries)),
            "parameters": line.parameters,
            "operations_left": line.operations,
            "disk_bytes": round(line.disk),
            "memory_bytes": None if line.memory is None else round(line.memory),
            "device_hours_left": line.hours,
        }

    hours = None if any(x.hours is None for x in lines) else sum(x.hours or 0 for x in lines)
    total = {
        "points": sum(len(line.entries) for line in lines),
        "disk_bytes": round(sum(line.disk for line in lines)),
        "operations_left": sum(line.operations for line in lines),
        "device_hours_left": hours,
    }
    name = device.name if device else None
    return json.dumps({"device": name, "total": total, "lines": list(map(one, lines))}, indent=1)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="degradation plan", allow_abbrev=False, add_help=False)
    found.add_argument("--no-probe", action="store_true")
    found.add_argument("--points", action="store_true")
    found.add_argument("--json", action="store_true")
    return found


def main(arguments: list[str]) -> int:
    """Print the plan; the exit status (see the module's head)."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    options, rest = parser().parse_known_args(arguments)
    try:
        asked = study.asked(study.Line.read(rest))
        runs = asked.settings[0].machine.runs
        found = progress.of_configs([s.config for s in asked.settings], runs)
        missing = {e.run.name for e in found if not e.finished}
        to_probe = [s for s in asked.settings if s.config.name in missing]
        together = asked.launcher == "basic" and len(to_probe) > 1
        together = together and process.shares_a_gpu(asked.settings[0].machine)
        device = None if options.no_probe or not missing else probe(to_probe, together)
    except (validation.ConfigError, RunDirError) as error:
        print(error, file=sys.stderr)
        return 2
    except Untried as error:
        print(error, file=sys.stderr)
        return 1
    lines = lines_of(found, device, options.configs or len(found) <= MOST_LINES)
    if options.json:
        print(as_json(lines, device))
    else:
        print(table(lines))
        print(_explanation(device, together))
    problems = concerns(lines, device, Path(runs).expanduser())
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _explanation(device: Device | None, together: bool) -> str:
    if device is None:
        return "time and memory: not tried"
    shared = "as many points at once as share it" if together else "one point at a time"
    others = f"; {gpus.visible()} GPUs are there" if gpus.visible() > 1 else ""
    busy = (
        f"; other processes had the core, too: alone it would take 1/{device.busy:.1f} of that"
        if device.busy > BUSY
        else ""
    )
    return f"hours: of {device.name}, {shared}, as measured a moment ago{others}{busy}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
