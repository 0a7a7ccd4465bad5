"""The run folder: what lies in it, what state it is in, its rows. It needs no torch.

config.json                 the run, written first
curves.jsonl                a row a line: a pure function of the run's settings
timing.jsonl                a row's wall-clock figures
launches.jsonl              a line a process: when, from which iteration, commit, fingerprint
worker.log                  what the process printed
checkpoints/                the newest two
failed.json                 why the last process ended early, if it did
resume_mismatches.jsonl     why a resume was not bitwise, if one was not
done.json                   the result, written last: it is the state done
responses.csv               Figure 7's numbers, where they were measured
evaluation.json             errors by ten crops and scales, where they were measured (ImageNet)
layers.jsonl                signals and gradients by layer, with machine.log_layers_every
wandb.json                  where W&B has the run, and how many rows arrived there
lock                        held by the process that trains
wandb.lock                  held by the process that sends rows to W&B
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from degradation.config import identity, schema, validation
from degradation.runs.columns import row_fault
from degradation.system import console, files, provenance

OUTCOMES = ("done", "diverged")
STATES = ("done", "diverged", "running", "partial", "failed", "missing")
RESTORE = "restore the file, or remove the run's folder to train anew"


class RunDirError(ValueError):
    """A folder or file that is not what its name says; the message says what helps."""


class RunDir:
    """The folder of one run."""

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
        self.wandb_json = folder / "wandb.json"
        self.resume_mismatches = folder / "resume_mismatches.jsonl"
        self.responses = folder / "responses.csv"
        self.layers = folder / "layers.jsonl"
        self.evaluation = folder / "evaluation.json"
        self.lock = folder / "lock"
        self.wandb_lock = folder / "wandb.lock"

    @classmethod
    def of(cls, config: schema.RunConfig, runs: str | Path) -> "RunDir":
        return cls(Path(runs).expanduser() / config.name)

    def create(self, config: schema.RunConfig) -> None:
        """Make the folder, or check that it is this run's, and note what may change: where its
        data lies, how the device is driven.

        Raises RunDirError with the difference, and files.StorageError.
        """
        files.make_folder(self.checkpoints)
        if not self.config_json.exists():
            files.write_json(self.config_json, asdict(config))
            return
        before = self.config()
        wanted = identity.identity(config)
        if lines := identity.difference(identity.identity(before), wanted):
            raise RunDirError(
                "\n  ".join([f"{self.folder} holds another run:", *lines])
                + "\nmove the folder away, or give machine.runs=OTHER"
            )
        # It stays a run of the study that trained it first.
        now = replace(config, study=before.study, variant=before.variant)
        if now != before:
            files.write_json(self.config_json, asdict(now))

    def config(self) -> schema.RunConfig:
        """The run that is trained here. Raises RunDirError where config.json holds none."""
        try:
            return validation.read(schema.RunConfig, files.read_json(self.config_json))
        except ValueError as error:
            message = str(error).removeprefix(f"{self.config_json}: ")
            raise RunDirError(
                f"{self.config_json}: {message}; restore it, or move the folder away"
            ) from error

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
        """What done.json holds, or None. Raises RunDirError where it is no result."""
        remedy = "remove it: the same command writes it anew"
        result = _read_object(self.done_json, remedy)
        if result is not None and result.get("outcome") not in OUTCOMES:
            outcome = console.short_repr(result.get("outcome"))
            allowed = " or ".join(OUTCOMES)
            raise RunDirError(f"{self.done_json}: outcome={outcome}: must be {allowed}; {remedy}")
        return result

    def failure(self) -> dict[str, Any] | None:
        """What failed.json holds, or None."""
        return _read_object(self.failed_json, "remove it")

    def fail(self, kind: str, message: str) -> None:
        """Leave in the folder why the last process ended early. Raises files.StorageError."""
        at = provenance.now()
        files.write_json(self.failed_json, {"kind": kind, "message": message, "at": at})

    def evaluated(self) -> dict[str, Any] | None:
        """What evaluation.json holds, or None. Raises RunDirError where it is no evaluation."""
        remedy = "degradation evaluate crops writes it anew"
        evaluation = _read_object(self.evaluation, remedy)
        if evaluation is not None and not {"classes", "running", "true"} <= evaluation.keys():
            raise RunDirError(f"{self.evaluation}: no evaluation; {remedy}")
        return evaluation

    def rows(self) -> list[dict[str, Any]]:
        """The complete rows, in order. Raises RunDirError, with the line, for one that is none."""
        rows, last = [], -1
        for number, row in enumerate(parsed_lines(self.curves), 1):
            if fault := row_fault(row, last):
                raise RunDirError(f"{self.curves}, line {number}: {fault}; {RESTORE}")
            rows.append(row)
            last = row["iteration"]
        self._check_digest()
        return rows

    def _check_digest(self) -> None:
        trained = (self.result() or {}).get("curves_sha256")
        if trained and not (self.curves.exists() and files.sha256_of(self.curves) == trained):
            raise RunDirError(
                f"{self.curves}: not the rows that were trained (their digest in done.json "
                f"differs); {RESTORE}"
            )

    def timing(self) -> list[dict[str, Any]]:
        """The complete rows of wall-clock figures; what was trained twice appears twice."""
        return list(parsed_lines(self.timing_jsonl))


def runs_in(folder: str | Path) -> list[RunDir]:
    """The runs below `folder`, by name; an empty list where there is none."""
    return [RunDir(path.parent) for path in sorted(Path(folder).expanduser().glob("*/config.json"))]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that end in a newline: a torn last one does not count yet.

    Raises RunDirError where it is no text, files.StorageError where it can't be read.
    """
    try:
        text = files.read(path).decode()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise RunDirError(f"{path}: not UTF-8; {RESTORE}") from error
    return text.split("\n")[:-1]


def parsed_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file, as JSON. Raises RunDirError, with the line, for one that isn't."""
    for number, line in enumerate(whole_lines(path), 1):
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RunDirError(f"{path}, line {number}: {error}; {RESTORE}") from error
        if not isinstance(value, dict):
            value = console.short_repr(value)
            raise RunDirError(f"{path}, line {number}: {value}: must be an object; {RESTORE}")
        yield value


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


def _read_object(path: Path, remedy: str) -> dict[str, Any] | None:
    try:
        value = files.read_json(path)
    except ValueError as error:
        raise RunDirError(f"{error}; {remedy}") from error
    if value is not None and not isinstance(value, dict):
        raise RunDirError(f"{path}: must be an object; {remedy}")
    return value
