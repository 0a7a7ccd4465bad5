"""Every run's state, read from the disk; the table of a study's errors beside the paper's.

    degradation status                              every run in runs/
    degradation status machine.runs=DIR             every run in DIR
    degradation status -m model=plain,residual …    a study's points, missing ones too
    degradation status +sweeps=figure6              likewise, by name

    --only KEY=VALUES    state, data, arm, depth, seed, shortcut: --only state=failed,partial
    --brief              a line a network, not one a run
    --watch              again and again, until every run has its result (--every SECONDS)
    --json               the same for programs

Failed points come with the last lines of their log and the command that trains them again. Exit
status: 0, 1 where a run failed, 2 refused, 5 no such folder.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from degradation.config import overrides, study, validation
from degradation.runs import summary
from degradation.runs.progress import (
    KEYS,
    RunProgress,
    filter_runs,
    final_errors,
    of_configs,
    of_folder,
)
from degradation.runs.run_dir import (
    STATES,
    RunDirError,
    whole_lines,
)
from degradation.system import console, files

LOG_LINES = 3
CLEAR = "\x1b[H\x1b[2J"  # a terminal
SHOWN = 10  # failed points whose log is shown, unless one asks for them alone


def listing(entries: Sequence[RunProgress]) -> str:
    """A line a run: state, name, iterations, errors, reason; and a count of the states."""
    lines = []
    for e in entries:
        errors = _errors(e.row) if e.row else ""
        lines.append(
            f"{e.state:9} {e.run.name:36} {e.progress:>13}  {errors:33} {e.reason}".rstrip()
        )
    return "\n".join([*lines, counts(entries)])


def counts(entries: Sequence[RunProgress]) -> str:
    """`7 done, 1 failed`."""
    found = Counter(e.state for e in entries)
    return ", ".join(f"{n} {state}" for state, n in found.items())


def brief(entries: Sequence[RunProgress]) -> str:
    """A line a network: how many of its points are in which state."""
    networks: dict[str, Counter[str]] = defaultdict(Counter)
    for e in entries:
        networks[e.network][e.state] += 1
    there = [state for state in STATES if any(found[state] for found in networks.values())]
    lines = [" " * 30 + "".join(f"{state:>10}" for state in there)]
    for name, found in networks.items():
        lines.append(f"{name:30}" + "".join(f"{found[state] or '–':>10}" for state in there))
    return "\n".join([*lines, counts(entries)])


def failures(entries: Sequence[RunProgress], limit: int | None) -> str:
    """Of each failed run: the last lines of its log, and the command that trains it again."""
    failed = [e for e in entries if e.state == "failed"]
    lines = []
    for e in failed[:limit]:
        runs = str(e.run.folder.parent)
        lines += ["", f"{e.run.name} failed: {e.reason}"]
        lines += [f"    {line}" for line in whole_lines(e.run.log)[-LOG_LINES:]]
        lines.append(f"  {overrides.command(e.config, runs)}")
    if limit is not None and len(failed) > limit:
        lines += ["", f"… and {len(failed) - limit} more: --only state=failed"]
    return "\n".join(lines)


def _errors(row: dict[str, Any]) -> str:
    shown = ("–" if row[q] is None else f"{row[q]:6.2f}" for q in ("train_error", "test_error"))
    return "train {} %  test {} %".format(*shown)


def as_json(entries: Sequence[RunProgress]) -> str:
    """A list with an object a point."""
    return json.dumps([
        {
            "run": e.run.name,
            **{key: value(e) for key, value in KEYS.items()},
            "iteration": e.iteration,
            "iterations": e.config.recipe.iterations,
            "train_error": e.row["train_error"] if e.row else None,
            "test_error": e.row["test_error"] if e.row else None,
            "reason": e.reason,
        }
        for e in entries
    ], indent=1)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="degradation status", allow_abbrev=False, add_help=False)
    found.add_argument("--only", action="append", default=[])
    found.add_argument("--brief", action="store_true")
    found.add_argument("--watch", action="store_true")
    found.add_argument("--every", type=float, default=5.0)
    found.add_argument("--json", action="store_true")
    return found


def main(arguments: list[str]) -> int:
    """Print the states; the exit status (see the module's head)."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    asked, rest = parser().parse_known_args(arguments)
    try:
        look = Look(study.Line.read(rest))
        if asked.watch:
            return watch(look, asked)
        return show(filter_runs(look(), asked.only), asked, look.runs)
    except (validation.ConfigError, RunDirError, files.StorageError) as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 5 if isinstance(error, files.StorageError) else 2


class Look:
    """Reads the entries that a line names: a study's, or else a folder's. Raises ConfigError."""

    def __init__(self, line: study.Line) -> None:
        settings = study.settings(line)
        self.runs, self.configs = settings[0].machine.runs, [s.config for s in settings]
        self.of_a_study = any(not o.startswith("machine.") for o in line.overrides)

    def __call__(self) -> list[RunProgress]:
        return of_configs(self.configs, self.runs) if self.of_a_study else of_folder(self.runs)


def show(entries: list[RunProgress], asked: argparse.Namespace, runs: str) -> int:
    """Print them; 1 where a run failed."""
    if asked.json:
        print(as_json(entries))
    elif not entries:
        print(console.escape_control_chars(f"no {'such ' if asked.only else ''}runs in {Path(runs).absolute()}"))
    else:
        alone = any(one.startswith("state=") for one in asked.only)
        parts = [
            brief(entries) if asked.brief else listing(entries),
            failures(entries, None if alone else SHOWN),
            summary.as_text(final_errors(entries)),
        ]
        print(console.escape_control_chars("\n\n".join(part.strip("\n") for part in parts if part)))
    return 1 if any(e.state == "failed" for e in entries) else 0


def watch(look: Look, asked: argparse.Namespace) -> int:
    """Show them every now and then, until all have their results or one interrupts."""
    try:
        while True:
            entries = filter_runs(look(), asked.only)
            room = shutil.get_terminal_size().lines - 4
            if sys.stdout.isatty():
                print(CLEAR, end="")
            print(time.strftime("%H:%M:%S"), flush=True)
            asked.brief = asked.brief or len(entries) > room
            status = show(entries, asked, look.runs)
            sys.stdout.flush()
            if all(e.finished for e in entries):
                return status
            time.sleep(asked.every)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
