"""curves.jsonl -> W&B: the file is the truth, W&B its mirror, each row there once and in order.

    degradation sync [runs/]    send everything that W&B lacks

Nothing is believed that was not read back. A run is opened by asking the server how far it is, and
sends from there; once it is closed, what the server has is compared with what is on the disk, and
`mirror.json` keeps the result. So whatever is killed or lost in between, is found missing and sent
again, and whatever had arrived is not. `degradation.tracking.follow` does this beside training.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from degradation.config.schema import Settings
from degradation.runs.run_dir import (
    RunDir,
    RunDirError,
    parsed_lines,
    runs_in,
)
from degradation.system import console, files
from degradation.tracking import keys, wandb_api
from degradation.tracking.wandb_api import Address

log = logging.getLogger("degradation")


NOWHERE: dict[str, Any] = {
    "server": {"rows": 0, "result": False}, "folder": {"rows": 0, "result": False},
}  # fmt: skip
"""What was read back of a run that has not been sent."""


class Differs(ValueError):
    """W&B has other rows than the disk, which can't be mended from here."""


def note(run: RunDir, settings: Settings) -> None:
    """Leave in the run's folder where its rows go, for whoever sends them. Raises files.StorageError.

    A W&B agent names the run that its sweep expects; the name stays with the folder.
    """
    machine, environment = settings.machine, os.environ
    swept = "WANDB_SWEEP_ID" in environment
    before = noted(run)
    project = (swept and environment.get("WANDB_PROJECT")) or machine.wandb_project
    entity = (swept and environment.get("WANDB_ENTITY")) or machine.wandb_entity
    entity = entity or before.get("entity")  # W&B's default, as the server told it
    if (before.get("project"), before.get("entity")) != (project, entity):
        before |= NOWHERE
    id = environment.get("WANDB_RUN_ID") if swept else None
    where = {"mode": machine.wandb, "project": project, "entity": entity, "study": settings.config.study}
    now = {"id": id or run.name, **NOWHERE} | before | where
    if now != before:
        files.write_json(run.wandb_json, now)


_NOTE = {"id": str, "mode": str, "project": str, "study": str, "server": dict, "folder": dict}


def noted(run: RunDir) -> dict[str, Any]:
    """What `mirror.json` holds, or nothing. Raises RunDirError where that is no note."""
    try:
        found = files.read_json(run.wandb_json)
    except ValueError as error:
        raise RunDirError(f"{error}; remove it to send all rows again") from error
    if found is None:
        return {}
    fits = isinstance(found, dict) and all(type(found.get(k)) is t for k, t in _NOTE.items())
    places = [found["server"], found["folder"]] if fits else []
    if not fits or found["mode"] not in wandb_api.MODES or not all(map(_is_place, places)):
        raise RunDirError(f"{run.wandb_json}: must have {', '.join(_NOTE)}; remove it to send all "
                      "rows again")  # fmt: skip
    return dict(found)


def _is_place(found: dict[str, Any]) -> bool:
    rows = found.get("rows")
    return type(rows) is int and rows >= 0 and type(found.get("result")) is bool


class Mirror:
    """One run's rows on their way to W&B."""

    def __init__(self, run: RunDir) -> None:
        """Raises RunDirError where `mirror.json` is damaged."""
        self.run = run
        self.note: dict[str, Any] = {"id": run.name, **NOWHERE, **noted(run)}
        self.opened: wandb_api.Opened | None = None
        self.next = 0
        self.size = -1
        self.held = ExitStack()

    @property
    def wanted(self) -> bool:
        return bool(self.note.get("mode", "disabled") != "disabled")

    def missing(self, to_server: bool) -> int:
        """Rows that are not known to have arrived; a result that hasn't counts as one."""
        there = self.note["server" if to_server else "folder"]
        untold = self.run.result() is not None and not there["result"]
        return max(0, len(self.run.rows()) - int(there["rows"])) + untold

    def push(self, to_server: bool, *, all_of_them: bool) -> None:
        """Hand W&B the rows that it lacks; of a run in training, those that are timed already.

        Raises storage.LockedError where another process is at it, RunDirError, and what `remote` raises.
        """
        size = self.run.curves.stat().st_size if self.run.curves.exists() else 0
        if (size == self.size and not all_of_them) or not self.missing(to_server):
            return
        rows = keys.rows(self.run)
        if not all_of_them:  # a row is timed a moment after it is written
            timed = next((i for i, row in enumerate(rows) if "seconds" not in row), len(rows))
            size, rows = size if timed == len(rows) else -1, rows[:timed]
            if not rows:
                return
        self.size = size
        if self.opened is None:
            self._open(to_server)
        assert self.opened is not None
        for row in rows:
            if row["iteration"] >= self.next:
                wandb_api.log(self.opened, row)
                self.next = row["iteration"] + 1

    def close(self) -> None:
        """Close the run with its result, if it has one; read back what has arrived, and note it.

        Raises Differs, and what `remote` raises: Unreachable, too, where rows are missing there.
        """
        if self.opened is None:
            return
        opened, self.opened, self.size = self.opened, None, -1
        rows, result = keys.rows(self.run), self.run.result()
        try:
            said = keys.summary(self.run.config(), result, rows) if result else {}
            wandb_api.finish(opened, said, 0 if result else 1)
            arrived = self._arrived(opened, len(rows))
            where = "server" if opened.online else "folder"
            told = result is not None and arrived == len(rows)
            self.note |= {where: {"rows": arrived, "result": told},
                          "entity": opened.address.entity}  # fmt: skip
            files.write_json(self.run.wandb_json, self.note)
        finally:
            self.held.close()
        if arrived < len(rows):
            why = "" if opened.online else "; is the disk full?"
            raise wandb_api.Unreachable(f"{arrived} of {len(rows)} rows have arrived{why}")
        if opened.online:
            wandb_api.drop_folders(self.run.folder.parent, opened.address.id)

    def abandon(self) -> None:
        """Forget an open run: the next `push` asks how far W&B is, and goes on from there."""
        self.opened, self.size = None, -1
        wandb_api.forget()
        self.held.close()

    def _open(self, to_server: bool) -> None:
        config, starts = self.run.config(), list(parsed_lines(self.run.launches_jsonl))
        self.held.enter_context(files.lock(self.run.wandb_lock))
        try:
            self.opened = wandb_api.open_run(
                self.address, self.run.folder.parent, to_server=to_server, name=config.label,
                group=self.note["study"], job_type=config.arm, tags=keys.tags(config),
                config=keys.config(config, starts[-1] if starts else {}),
            )  # fmt: skip
        except BaseException:
            self.held.close()
            raise
        self.next = self.opened.begin

    @property
    def address(self) -> Address:
        return Address(self.note["project"], self.note["entity"], self.note["id"])

    def _arrived(self, opened: wandb_api.Opened, expected: int) -> int:
        """How many rows W&B has, from the first. Raises Differs where they are not the disk's."""
        if opened.online:
            found = wandb_api.server_rows(opened.address, expected)
        else:
            found = wandb_api.folder_rows(self.run.folder.parent, opened.address.id)
        theirs = [keys.row_of(row) for row in found]
        for number, (mine, other) in enumerate(zip(self.run.rows(), theirs, strict=False), 1):
            if keys.row_of(mine) != other:
                raise Differs(self._difference(opened, f"row {number} is {other} there"))
        if len(theirs) > expected:
            raise Differs(self._difference(opened, f"{len(theirs)} rows are there"))
        return len(theirs)

    def _difference(self, opened: wandb_api.Opened, what: str) -> str:
        copies = f"{self.run.folder.parent}/wandb/offline-run-*-{opened.address.id}"
        online = f"delete the run {opened.address.path} in W&B"
        remedy = online if opened.online else f"remove {copies}"
        return (f"{what}, and {self.run.curves} has others (trained twice, or resumed "
                f"inexactly): {remedy}, and send it again")  # fmt: skip


def send(mirror: Mirror, to_server: bool) -> str:
    """Send everything that one run lacks; why something stayed behind, or nothing."""
    try:
        mirror.push(to_server, all_of_them=True)
        mirror.close()
    except files.LockedError as error:
        return f"it is being sent: {error}"
    except (RunDirError, Differs, files.StorageError, wandb_api.Refused) as error:
        mirror.held.close()
        return str(error)
    except wandb_api.Unreachable as error:
        mirror.abandon()
        return str(error)
    return ""


def lacking(runs: Sequence[RunDir]) -> list[str]:
    """The names of the runs of which W&B, where it is wanted, lacks something."""
    found = []
    for run in runs:
        try:
            mirror = Mirror(run)
            behind = mirror.wanted and mirror.missing(True) and mirror.missing(False)
        except ValueError:  # damaged: whoever sends it says so
            behind = True
        if behind:
            found.append(run.name)
    return found


def main(arguments: list[str]) -> int:
    """The command; 0: all is there, 1: something stayed behind, 2: it can't be done at all."""
    asked = _read(arguments)
    console.show_messages()
    folder = Path(asked.runs).expanduser()
    if not folder.is_dir():
        print(console.escape_control_chars(f"{folder}: must be one folder of runs; usage: "
                           "degradation sync [runs/]"), file=sys.stderr)  # fmt: skip
        return 2
    try:
        mirrors = [Mirror(run) for run in runs_in(asked.runs)]
        for mirror in mirrors:
            mirror.note = _addressed(mirror, asked)
        mirrors = [m for m in mirrors if m.wanted]
        to_server = {m: wandb_api.online(_mode(m)) for m in mirrors}
    except (ValueError, wandb_api.Absent, wandb_api.Refused) as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 2
    behind = [m for m in mirrors if m.missing(to_server[m])]
    left: dict[str, str] = {}
    for mirror in tqdm(behind, desc="mirror", unit="run", disable=None):
        if why := send(mirror, to_server[mirror]):
            left[mirror.run.name] = why
            tqdm.write(f"{mirror.run.name} stays behind: {why}", file=sys.stderr)
    print(f"{len(behind) - len(left)} runs sent, {len(left)} left behind, "
          f"{len(mirrors) - len(behind)} complete before")  # fmt: skip
    offline = [m for m in mirrors if not to_server[m]]
    if offline:
        print(f"{len(offline)} of them in {asked.runs}/wandb, without a server: `wandb leet "
              f"{asked.runs}/wandb` shows them, `wandb sync {asked.runs}/wandb/offline-run-*` "
              "sends them; or `wandb login`, and this command again")  # fmt: skip
    return 1 if left or any(m.note["mode"] != "offline" for m in offline) else 0


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="degradation sync", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    parser.add_argument("--project", help="send all of them there, even those trained with "
                                          "machine.wandb=disabled")  # fmt: skip
    parser.add_argument("--entity", help="of the project; W&B's default for the key")
    return parser.parse_args(arguments)


def _mode(mirror: Mirror) -> str:
    """Who calls the command wants rows of offline runs sent, too, if there is a key."""
    mode = str(mirror.note["mode"])
    return "auto" if mode == "offline" else mode


def _addressed(mirror: Mirror, asked: argparse.Namespace) -> dict[str, Any]:
    """Where the run goes: to --project, if that is given, whatever its training said."""
    if asked.project is None:
        return mirror.note
    if asked.project != mirror.note.get("project"):
        mirror.note |= NOWHERE
    where = {"mode": "auto", "project": asked.project, "entity": asked.entity}
    return {"study": mirror.run.config().data.name} | mirror.note | where


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
