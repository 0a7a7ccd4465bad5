"""The run folder: what lies in it, what state it is in, its rows. It needs no torch.

config.json         the run, written first
curves.jsonl       a row a line: a pure function of the run
timing.jsonl       a row's wall-clock figures
launches.jsonl       a line a process: when, from which iteration, commit, fingerprint
worker.log         what the process said
checkpoints/       the newest two
failed.json        why the last process ended early, if it did
resume_mismatches.jsonl      why a resume was not exact, if one wasn't
done.json          the result, written last: it is the state done
responses.csv      Figure 7's numbers, of `degradation evaluate responses`
evaluation.json    errors by ten crops and scales, where `evaluate` measured them (ImageNet)
layers.jsonl       signals and gradients by layer, where machine.log_layers_every asked for them
mirror.json        where W&B has the run, and how far: what was read back there
tensorboard/       event files, where machine.tensorboard=true
lock               held by the process that trains
mirror.lock        held by the process that sends rows to W&B
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degradation.config import identity, schema, validation
from degradation.system import console, files, provenance

if TYPE_CHECKING:
    import pandas as pd

ROW = ("iteration", "train_error", "test_error")  # what every row has
OUTCOMES = ("done", "diverged")
TAIL = 4096  # bytes; a row has some 230
STATES = ("done", "diverged", "running", "partial", "failed", "missing")


class RunDirError(ValueError):
    """A folder that isn't what its name says; the message is meant for people."""


class Unread(RunDirError):
    """What the disk did not give back, and may well hold."""


DISK = (files.StorageError, Unread)
"""The disk refused, in writing or reading."""


class RunDir:
    """The folder of one point."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.config_json = folder / "config.json"
        self.curves = folder / "curves.jsonl"
        self.timing_jsonl = folder / "timing.jsonl"
        self.launches_jsonl = folder / "launches.jsonl"
        self.log = folder / "worker.log"
        self.checkpoints = folder / "checkpoints"
        self.failed_json = folder / "failed.json"
        self.done_json = folder / "done.json"
        self.mirror_json = folder / "mirror.json"
        self.resume_mismatches = folder / "resume_mismatches.jsonl"
        self.responses = folder / "responses.csv"
        self.layers = folder / "layers.jsonl"
        self.evaluation = folder / "evaluation.json"
        self.lock = folder / "lock"
        self.mirror_lock = folder / "mirror.lock"

    @classmethod
    def of(cls, config: schema.RunConfig, runs: str | Path) -> "RunDir":
        return cls(Path(runs).expanduser() / config.name)

    def create(self, config: schema.RunConfig) -> None:
        """Make the folder, or check that it is this run's.

        Raises RunDirError with the difference or the stranger, and files.StorageError.
        """
        files.refuse_link(self.folder)
        files.refuse_link(self.checkpoints)
        files.make_folder(self.checkpoints)
        self._refuse_strangers()
        if not self.config_json.exists():
            files.write_json(self.config_json, schema.plain(config))
            return
        theirs = identity.identity(self.config())
        if lines := identity.difference(theirs, identity.identity(config)):
            raise RunDirError(f"{self.folder} holds another run:\n  " + "\n  ".join(lines)
                          + "\nmove the folder away, or give machine.runs=OTHER")  # fmt: skip

    def _refuse_strangers(self) -> None:
        """A folder of somebody else's, in which others may write, could change under our hands."""
        found = self.folder.stat()
        if found.st_uid != os.geteuid() and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise RunDirError(f"{self.folder} is user {found.st_uid}'s, and others may write there; "
                          "take it (chown, chmod go-w), or say machine.runs=OTHER")  # fmt: skip

    def config(self) -> schema.RunConfig:
        """The run that is trained here. Raises RunDirError where `config.json` can't be read."""
        try:
            return validation.read(schema.RunConfig, files.read_json(self.config_json))
        except (OSError, ValueError) as error:
            remedy = "restore it, or move the folder away"
            raise _refusal(self.config_json, error, remedy) from error

    def state(self) -> str:
        """One of STATES, read from the disk."""
        if (done := self.result()) is not None:
            return str(done["outcome"])
        if files.is_locked(self.lock):
            return "running"
        if self.failed_json.exists():
            return "failed"
        return "partial" if self.config_json.exists() else "missing"

    def result(self) -> dict[str, Any] | None:
        """What `done.json` holds, or None. Raises RunDirError where it is no result."""
        found = _object(self.done_json, "remove it: the same command makes it anew")
        if found is not None and found.get("outcome") not in OUTCOMES:
            outcome = console.short_repr(found.get("outcome"))
            raise RunDirError(f"{self.done_json}: outcome={outcome}: must be {' or '.join(OUTCOMES)}; "
                          "remove it: the same command makes it anew")  # fmt: skip
        return found

    def failure(self) -> dict[str, Any] | None:
        """What `failed.json` holds, or None."""
        return _object(self.failed_json, "remove it")

    def fail(self, kind: str, message: str) -> None:
        """Leave in the folder why the last process ended early. Raises files.StorageError."""
        at = provenance.now()
        files.write_json(self.failed_json, {"kind": kind, "message": message, "at": at})

    def evaluated(self) -> dict[str, Any] | None:
        """What `evaluation.json` holds, or None. Raises RunDirError where it is no evaluation."""
        remedy = "degradation evaluate crops makes it anew"
        found = _object(self.evaluation, remedy)
        if found is not None and not {"classes", "running", "true"} <= found.keys():
            raise RunDirError(f"{self.evaluation}: no evaluation; {remedy}")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The complete rows, in order. Raises RunDirError, with the line, for one that is none."""
        rows, last = [], -1
        for number, row in enumerate(parsed(self.curves), 1):
            if fault := row_fault(row, last):
                raise RunDirError(f"{self.curves}, line {number}: {fault}; {_RESTORE}")
            rows.append(row)
            last = row["iteration"]
        return rows

    def last_row(self) -> dict[str, Any] | None:
        """The last complete row, at the cost of one: what `rows` ends with. Raises RunDirError."""
        where = f"{self.curves}, last line"
        for line in last_lines(self.curves, 1):
            row = _object_in(line, where)
            if fault := row_fault(row):
                raise RunDirError(f"{where}: {fault}; {_RESTORE}")
            return row
        return None

    def timing(self) -> list[dict[str, Any]]:
        """The complete rows of wall-clock figures; rows that were trained twice appear twice.

        Raises RunDirError, with the line, for one that is none.
        """
        rows = list(parsed(self.timing_jsonl))
        for number, row in enumerate(rows, 1):
            for key in ("iteration", "seconds"):
                if type(value := row.get(key)) not in (int, float):
                    where = f"{self.timing_jsonl}, line {number}"
                    raise RunDirError(
                        f"{where}: {key}={console.short_repr(value)}: must be a number; {_RESTORE}"
                    )
        return rows


def row_fault(row: Mapping[str, Any], last: int = -1) -> str:
    """What makes a line of curves.jsonl no row behind one of iteration `last`; else ""."""
    for key in ROW:
        if key not in row:
            return f"no {key}; a row has {', '.join(ROW)}, …"
    for key, value in row.items():
        if not re.fullmatch(r"[a-z_]{1,40}", key):
            return f"the key {console.short_repr(key)}: must be letters and _"
        if not (value is None or type(value) in (int, float)):
            return f"{key}={console.short_repr(value)}: must be a number or null"
    if type(row["iteration"]) is not int:
        return f"iteration={row['iteration']}: must be a whole number"
    if row["iteration"] <= last:
        return f"iteration={row['iteration']} behind {last}: must rise"
    return ""


_RESTORE = "restore the file, or remove the run's folder to train anew"


def runs_in(folder: str | Path) -> list[RunDir]:
    """The runs below `folder`, by name; an empty list where there is none."""
    return [RunDir(path.parent) for path in sorted(Path(folder).expanduser().glob("*/config.json"))]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that end in a newline: a torn last one is not there yet.

    Raises RunDirError where it can't be read.
    """
    try:
        text = files.read(path).decode()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(path, error, _RESTORE) from error
    return text.split("\n")[:-1]


def last_lines(path: Path, count: int) -> list[str]:
    """At most `count` of the last complete lines; those that begin more than TAIL before the end
    are left out, unless there are no others. Raises RunDirError where they can't be read."""
    try:
        tail, cut = files.read_end(path, TAIL)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _refusal(path, error, _RESTORE) from error
    lines = tail.decode(errors="replace").split("\n")[:-1]
    return (lines[cut:] or whole_lines(path))[-count:]


def curves(folder: str | Path) -> "pd.DataFrame":
    """All rows of all runs below `folder`, one line each, with what identifies the run.

    Columns: those of `describe` (run, data, arm, depth, seed, …), and those of the rows: iteration,
    epoch, lr, train_loss, train_error, test_loss, test_error, train_error_eval, …. Errors are in
    percent. Raises RunDirError for a file that can't be read.
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


def describe(run: RunDir) -> dict[str, Any]:
    """What identifies a run, and its state.

    `pair` is equal for points that differ at most in the shortcut, `protocol` for those of one
    study; `drop` is the first drop's iteration; `initial` and `stream` are the digests of the
    initial tensors and of the order of the images; `device` is what the last process ran on.
    """
    config = run.config()
    starts = list(parsed(run.launches_jsonl))
    start = starts[-1] if starts else {}
    digests, fingerprint = start.get("digests") or {}, start.get("fingerprint") or {}
    if not isinstance(digests, dict) or not isinstance(fingerprint, dict):
        raise RunDirError(f"{run.launches_jsonl}, line {len(starts)}: digests and fingerprint must be groups "
                      f"of keys; {_RESTORE}")  # fmt: skip
    return {
        "run": run.name,
        "folder": str(run.folder),
        "data": config.data.name,
        "arm": config.arm,
        "depth": config.depth,
        "seed": config.seed,
        "shortcut": config.model.shortcut,
        "pair": config.pair,
        "protocol": config.protocol,
        "iterations": config.recipe.iterations,
        "drop": config.recipe.milestones[0] if config.recipe.milestones else None,
        "state": run.state(),
        "exact": not run.resume_mismatches.exists(),
        "initial": _word(digests.get("initial")),
        "stream": _word(digests.get("stream")),
        "device": _word(fingerprint.get("gpu") or fingerprint.get("device")),
        "commit": _word(start.get("commit")),
    }


def _word(value: Any) -> str | None:
    """Text of a file that anyone may have written, as it may stand in a table."""
    return None if value is None else console.short_repr(str(value))


def _object(path: Path, remedy: str) -> dict[str, Any] | None:
    try:
        value = files.read_json(path)
    except (OSError, ValueError) as error:
        raise _refusal(path, error, remedy) from error
    if value is not None and not isinstance(value, dict):
        raise RunDirError(f"{path}: must be a group of keys; {remedy}")
    return value


def _refusal(path: Path, error: Exception, remedy: str) -> RunDirError:
    """Why `path` can't be used: `remedy` is for a file at fault; where the system is, it stays."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno not in files.OF_THE_FILE:
        return Unread(f"can't read {path}: {cause.strerror}; {files.remedy(cause)}, and give the "
                      "same command again")  # fmt: skip
    if isinstance(error, UnicodeDecodeError):
        return RunDirError(f"{path}: not UTF-8; {remedy}")
    said = error.strerror if isinstance(error, OSError) else str(error)
    return RunDirError(f"{path}: {str(said).removeprefix(f'{path}: ')}; {remedy}")


def parsed(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file, as JSON. Raises RunDirError, with the line, for one that isn't."""
    for number, line in enumerate(whole_lines(path), 1):
        yield _object_in(line, f"{path}, line {number}")


def _object_in(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RunDirError(f"{where}: {error}; {_RESTORE}") from error
    if not isinstance(value, dict):
        raise RunDirError(f"{where}: {console.short_repr(value)}: must be a group of keys; {_RESTORE}")
    return value


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")
