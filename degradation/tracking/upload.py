"""One run on its way to W&B: where its rows go, which are there, and how the rest is sent."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from degradation.config import validation
from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir, RunDirError, parsed_lines
from degradation.system import files
from degradation.tracking import keys, wandb_api
from degradation.tracking.wandb_api import TrackingError

CHECKS = 3  # of a server that may take a moment to show what it has taken


@dataclass(frozen=True)
class Note:
    """What wandb.json holds: where a run's rows go, and what was sent."""

    id: str
    mode: str
    project: str
    entity: str | None = None
    rows: int = 0
    result: bool = False

    @property
    def path(self) -> str:
        """The run in W&B; without an entity, in the key's default one."""
        return "/".join(filter(None, (self.entity, self.project, self.id)))


def read_note(run: RunDir) -> Note | None:
    """The note in a run's folder, if there is one. Raises RunDirError where it is none."""
    try:
        value = files.read_json(run.wandb_json)
        return None if value is None else validation.read(Note, value)
    except ValueError as error:
        raise RunDirError(
            f"{run.wandb_json}: {error}; remove it, and `degradation sync` writes it anew"
        ) from error


def write_note(run: RunDir, settings: Settings) -> None:
    """Leave in the run's folder where its rows go. Raises RunDirError and files.StorageError.

    A W&B agent names the run that its sweep expects; the name stays with the folder.
    """
    machine = settings.machine
    agent: Mapping[str, str] = os.environ if "WANDB_SWEEP_ID" in os.environ else {}
    project = agent.get("WANDB_PROJECT") or machine.wandb_project
    entity = agent.get("WANDB_ENTITY") or machine.wandb_entity
    note = read_note(run)
    if note is None or note.project != project or entity not in (None, note.entity):
        id = note.id if note else agent.get("WANDB_RUN_ID") or run.name
        note = Note(id, machine.wandb, project, entity)
    _save(run, replace(note, mode=machine.wandb))


def _save(run: RunDir, note: Note) -> None:
    files.write_json(run.wandb_json, asdict(note))


def lacks(note: Note, run: RunDir) -> bool:
    """Whether W&B lacks something of a run, as far as the note says."""
    return note.rows < len(run.rows()) or (run.result() is not None and not note.result)


def is_behind(run: RunDir) -> bool:
    """Whether W&B, where it is wanted, was not sent all of a run, as far as its note says."""
    try:
        note = read_note(run)
        return note is not None and note.mode != "disabled" and lacks(note, run)
    except (OSError, ValueError):
        # `degradation sync` says what is wrong.
        return True


class Upload:
    """One run on its way to W&B."""

    def __init__(self, run: RunDir, note: Note) -> None:
        self.run, self.note = run, note
        self.to_server = wandb_api.online(note.mode)
        self.opened: Any = None
        self.next_step = 0
        self.lock = ExitStack()
        """Keeps every other process from sending this run while it is open."""
        self.retry_at = 0.0

    def send(self, *, final: bool) -> bool:
        """Send the rows that W&B lacks; whether the run is complete, and closed.

        `final`: no more rows will come. Raises TrackingError, RunDirError and files.StorageError.
        """
        rows, result = keys.rows(self.run), self.run.result()
        final = final or result is not None
        # The timing of a row is written a moment after the row itself.
        if not final and rows and "seconds" not in rows[-1]:
            rows.pop()
        if self.opened is None:
            complete = self.note.rows == len(rows) and self.note.result == (result is not None)
            # An offline folder is written in one go, when no more rows will come.
            if not self.to_server and (complete or not final):
                return final
            if not rows and result is None:
                return final
            self._open(rows)
        for row in rows:
            if row["iteration"] >= self.next_step:
                with wandb_api.tracking_errors():
                    self.opened.log(row, step=row["iteration"], commit=True)
                self.next_step = row["iteration"] + 1
        if final:
            self._close(rows, result)
        return final

    def _open(self, rows: Sequence[dict[str, Any]]) -> None:
        self.lock.enter_context(files.lock(self.run.wandb_lock))
        config, launches = self.run.config(), list(parsed_lines(self.run.launches_jsonl))
        if not self.to_server and not self.note.rows:
            # What a killed process left is written anew.
            self._remove_offline_folders()
        self.opened = wandb_api.open_run(
            self.run.folder.parent,
            to_server=self.to_server,
            project=self.note.project,
            entity=self.note.entity,
            id=self.note.id,
            **keys.names(config),
            config=keys.config(config, launches[-1] if launches else {}),
        )
        if self.to_server:
            self.next_step = self.opened.starting_step
        else:
            sent = rows[: self.note.rows]
            self.next_step = sent[-1]["iteration"] + 1 if sent else 0

    def _close(self, rows: Sequence[dict[str, Any]], result: dict[str, Any] | None) -> None:
        with wandb_api.tracking_errors():
            if result is not None:
                self.opened.summary.update(keys.summary(self.run.config(), result, rows))
            entity = self.opened.entity or self.note.entity
            self.opened.finish(exit_code=0 if result is not None else 1)
        self.opened = None
        if self.to_server:
            # `wandb sync` would send the rows in them again.
            self._remove_offline_folders()
        self.note = replace(self.note, rows=len(rows), result=result is not None, entity=entity)
        _save(self.run, self.note)
        self.lock.close()

    def abandon(self) -> None:
        """Forget an open run: the next `send` asks the server how far it is."""
        if self.opened is not None:
            wandb_api.tear_down()
        self.opened = None
        self.lock.close()

    def _remove_offline_folders(self) -> None:
        for folder in self.run.folder.parent.glob(f"wandb/offline-run-*-{self.note.id}"):
            shutil.rmtree(folder, ignore_errors=True)


def send_all(run: RunDir, note: Note) -> bool:
    """Send what W&B lacks of one run, and check it there; whether there was anything to send.

    Raises TrackingError, RunDirError and files.StorageError.
    """
    upload = Upload(run, note)
    there = wandb_api.last_step(note.path) if upload.to_server else -1
    rows = run.rows()
    last = rows[-1]["iteration"] if rows else -1
    if there > last:
        raise TrackingError(
            f"iteration {there} is there, and {run.curves} ends at {last}: "
            f"delete the run {note.path} in W&B"
        )
    if not lacks(note, run) and there == (last if upload.to_server else -1):
        return False
    try:
        upload.send(final=True)
    except BaseException:
        upload.abandon()
        raise
    if upload.to_server:
        _check_arrival(upload.note.path, last)
    return True


def _check_arrival(path: str, last: int) -> None:
    for pause in range(CHECKS):
        time.sleep(pause)
        if (there := wandb_api.last_step(path)) == last:
            return
    raise TrackingError(f"iteration {there} of {last} has arrived")
