"""The run folder: what lies in it, what state it is in, its rows. It needs no torch.

point.json         the point, written first
curves.jsonl       a row a line: a pure function of the point
timing.jsonl       a row's wall-clock figures
starts.jsonl       a line a process: when, from which iteration, commit, fingerprint
worker.log         what the process said
checkpoints/       the newest two
failed.json        why the last process ended early, if it did
inexact.jsonl      why a resume was not exact, if one wasn't
done.json          the result, written last: it is the state done
responses.csv      Figure 7's numbers, where `probe` measured them
mirror.json        how far W&B has the rows
lock               held by the process that trains
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degradation import schema, spec, storage

if TYPE_CHECKING:
    import pandas as pd

TAIL = 4096  # bytes; a row has some 230
STATES = ("done", "diverged", "running", "partial", "failed", "missing")


class Foreign(ValueError):
    """A folder that isn't what its name says; the message is meant for people."""


class Run:
    """The folder of one point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.point_json = folder / "point.json"
        self.curves = folder / "curves.jsonl"
        self.timing_jsonl = folder / "timing.jsonl"
        self.starts = folder / "starts.jsonl"
        self.log = folder / "worker.log"
        self.checkpoints = folder / "checkpoints"
        self.failed_json = folder / "failed.json"
        self.done_json = folder / "done.json"
        self.mirror_json = folder / "mirror.json"
        self.inexact = folder / "inexact.jsonl"
        self.responses = folder / "responses.csv"
        self.lock = folder / "lock"

    @classmethod
    def of(cls, point: spec.Point, runs: str | Path) -> "Run":
        return cls(Path(runs).expanduser() / point.name)

    def create(self, point: spec.Point) -> None:
        """Make the folder, or check that it is this point's.

        Raises Foreign with the difference, and storage.Failed.
        """
        storage.make_folder(self.checkpoints)
        if not self.point_json.exists():
            storage.write_json(self.point_json, spec.plain(point))
            return
        theirs = spec.identity(self.point())
        if lines := spec.difference(theirs, spec.identity(point)):
            raise Foreign(f"{self.folder} holds another point:\n  " + "\n  ".join(lines)
                          + "\nmove the folder away, or give machine.runs=OTHER")  # fmt: skip

    def point(self) -> spec.Point:
        """The point that is trained here. Raises Foreign where `point.json` can't be read."""
        try:
            return schema.read(spec.Point, storage.read_json(self.point_json))
        except (OSError, ValueError) as error:
            raise Foreign(f"{self.point_json}: {error}") from error

    def state(self) -> str:
        """One of STATES, read from the disk."""
        if (done := self.result()) is not None:
            return str(done["outcome"])
        if storage.is_locked(self.lock):
            return "running"
        if self.failed_json.exists():
            return "failed"
        return "partial" if self.point_json.exists() else "missing"

    def result(self) -> dict[str, Any] | None:
        """What `done.json` holds, or None."""
        return _object(self.done_json)

    def failure(self) -> dict[str, Any] | None:
        """What `failed.json` holds, or None."""
        return _object(self.failed_json)

    def rows(self) -> list[dict[str, Any]]:
        """The complete rows, in order. Raises Foreign, with the line, for one that isn't JSON."""
        return list(_parsed(self.curves))

    def last_row(self) -> dict[str, Any] | None:
        """The last complete row, at the cost of one: what `rows` ends with."""
        try:
            return next((json.loads(line) for line in last_lines(self.curves, 1)), None)
        except ValueError as error:
            raise Foreign(f"{self.curves}, last line: {error}") from error

    def timing(self) -> list[dict[str, Any]]:
        """The complete rows of wall-clock figures; rows that were trained twice appear twice."""
        return list(_parsed(self.timing_jsonl))


def runs_in(folder: str | Path) -> list[Run]:
    """The runs below `folder`, by name; an empty list where there is none."""
    return [Run(path.parent) for path in sorted(Path(folder).expanduser().glob("*/point.json"))]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that end in a newline: a torn last one is not there yet."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def last_lines(path: Path, count: int) -> list[str]:
    """At most `count` of the last complete lines; those that begin more than TAIL before the end
    are left out, unless there are no others."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    except FileNotFoundError:
        return []
    lines = tail.decode(errors="replace").split("\n")[:-1]
    whole = lines if size <= TAIL else lines[1:]
    return (whole or whole_lines(path))[-count:]


def curves(folder: str | Path) -> "pd.DataFrame":
    """All rows of all runs below `folder`, one line each, with what identifies the run.

    Columns: those of `describe` (run, data, arm, depth, seed, …), and those of the rows: iteration,
    epoch, lr, train_loss, train_error, test_loss, test_error, train_error_clean, …. Errors are in
    percent. Raises Foreign for a file that can't be read.
    """
    return load(folder)[1]


def load(folder: str | Path) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """A line a run (the columns of `describe`), and a line a row (see `curves`)."""
    import pandas as pd  # half a second that run and status never need

    runs, lines = [], []
    for run in runs_in(folder):
        described = describe(run)
        runs.append(described)
        lines += [described | row for row in run.rows()]
    return pd.DataFrame(runs), pd.DataFrame(lines)


def describe(run: Run) -> dict[str, Any]:
    """What identifies a run, and its state.

    `pair` is equal for points that differ at most in the shortcut, `protocol` for those of one
    study; `drop` is the first drop's iteration; `initial` and `stream` are the digests of the
    initial tensors and of the order of the pictures; `device` is what the last process ran on.
    """
    point = run.point()
    starts = list(_parsed(run.starts))
    start = starts[-1] if starts else {}
    digests, fingerprint = start.get("digests", {}), start.get("fingerprint", {})
    return {
        "run": run.name,
        "folder": str(run.folder),
        "data": point.data.name,
        "arm": point.arm,
        "depth": point.depth,
        "seed": point.seed,
        "shortcut": point.model.shortcut,
        "pair": point.pair,
        "protocol": point.protocol,
        "iterations": point.recipe.iterations,
        "drop": point.recipe.drops[0] if point.recipe.drops else None,
        "state": run.state(),
        "exact": not run.inexact.exists(),
        "initial": digests.get("initial"),
        "stream": digests.get("stream"),
        "device": fingerprint.get("gpu") or fingerprint.get("device"),
        "commit": start.get("commit"),
    }


def _object(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] | None = storage.read_json(path)
    except ValueError as error:
        raise Foreign(str(error)) from error
    return value


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(whole_lines(path), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise Foreign(f"{path}, line {number}: {error}") from error
