"""curves.jsonl → W&B: the file is the truth, W&B its mirror, each row there once and in order.

    degradation sync [runs/]    send everything that W&B lacks

While runs train, `Sync` keeps a process of its own (`--follow`) that reads the rows from the disk
and sends them. Training never waits for it: it may die, hang or find no server. `degradation sync`
sends the rest later: it asks the server for the last step of each run, sends what comes after it,
and asks again. `wandb.json` in a run's folder says where its rows go and how many were sent.
"""

import argparse
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from degradation.config import validation
from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir, RunDirError, parsed_lines, runs_in
from degradation.system import console, files
from degradation.tracking import keys, wandb_api
from degradation.tracking.wandb_api import Address, RefusedError, TrackingError

log = logging.getLogger("degradation")

FOLLOW = [sys.executable, "-m", "degradation.tracking.sync", "--follow"]
POLL = 1.0  # seconds between two readings of the rows
RETRY = 10.0  # … between two attempts at a server that does not answer
LINGER = 15.0  # … that the process has for the rest, once training has ended
GRACE = 8.0  # … that a study waits for it in the end
CHECKS = 3  # of a server that may take a moment to show what it has taken
LATER = "`degradation sync` sends the rows later"
NOT_NOW = (RefusedError, RunDirError, validation.ConfigError)
"""Where trying again does not help."""


@dataclass(frozen=True)
class Note:
    """What wandb.json holds: where a run's rows go, and what was sent."""

    id: str
    mode: str
    project: str
    entity: str | None = None
    rows: int = 0
    result: bool = False
    offline: tuple[str, ...] = ()
    """The offline folders that hold rows, for `wandb sync`."""

    @property
    def address(self) -> Address:
        return Address(self.project, self.entity, self.id)


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
    machine, environment = settings.machine, os.environ
    swept = "WANDB_SWEEP_ID" in environment
    project = (swept and environment.get("WANDB_PROJECT")) or machine.wandb_project
    entity = (swept and environment.get("WANDB_ENTITY")) or machine.wandb_entity
    id = (swept and environment.get("WANDB_RUN_ID")) or run.name
    note = read_note(run)
    if note is None or note.project != project or entity not in (None, note.entity):
        note = Note(note.id if note else id, machine.wandb, project, entity)
    _save(run, replace(note, mode=machine.wandb))


def _save(run: RunDir, note: Note) -> None:
    files.write_json(run.wandb_json, asdict(note))


class Sync:
    """Sends the rows of runs while they train; held by the process that starts the training.

    No method raises, asks a question, or waits for a server.
    """

    def __init__(self) -> None:
        self.senders: list[subprocess.Popen[bytes]] = []

    def start(self, runs: Sequence[tuple[RunDir, Settings]]) -> None:
        """These runs begin to train, in one process."""
        folders = []
        for run, settings in runs:
            if settings.machine.wandb == "disabled":
                continue
            try:
                write_note(run, settings)
                folders.append(str(run.folder))
            except (OSError, ValueError) as error:
                log.warning("%s: W&B gets no rows now (%s)", run.name, error)
        if not folders:
            return
        self.senders = [sender for sender in self.senders if sender.poll() is None]
        try:
            sender = subprocess.Popen(
                [*FOLLOW, *folders],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            log.warning("W&B gets no rows now (%s)", error)
        else:
            self.senders.append(sender)

    def end(self) -> None:
        """The training of what was started has ended, one way or the other."""
        for sender in self.senders:
            assert sender.stdin is not None
            sender.stdin.close()

    def finish(self, runs: Sequence[RunDir]) -> list[str]:
        """Give the senders GRACE seconds, and end them; the names of the runs that W&B lacks
        rows of."""
        self.end()
        until = time.monotonic() + GRACE
        for sender in self.senders:
            with suppress(subprocess.TimeoutExpired):
                sender.wait(max(0.0, until - time.monotonic()))
            sender.kill()  # wandb's own process ends when it notices
            sender.wait()
        self.senders.clear()
        while behind := [run for run in runs if _is_behind(run)]:
            # A launcher's processes have senders of their own.
            if time.monotonic() > until or not any(files.is_locked(r.wandb_lock) for r in behind):
                break
            time.sleep(0.1)
        return [run.name for run in behind]


def _is_behind(run: RunDir) -> bool:
    try:
        note = read_note(run)
        if note is None or note.mode == "disabled":
            return False
        return note.rows < len(run.rows()) or (run.result() is not None and not note.result)
    except (OSError, ValueError):  # `degradation sync` says what is wrong
        return True


class Upload:
    """One run on its way to W&B."""

    def __init__(self, run: RunDir, note: Note) -> None:
        self.run, self.note = run, note
        self.to_server = wandb_api.online(note.mode)
        self.opened: Any = None
        self.next_step = 0
        self.lock = ExitStack()
        self.retry_at = 0.0

    def send(self, *, final: bool) -> bool:
        """Send the rows that W&B lacks; whether the run is complete, and closed.

        `final`: no more rows will come. Raises TrackingError, RunDirError and files.StorageError.
        """
        rows, result = keys.rows(self.run), self.run.result()
        final = final or result is not None
        if not final and rows and "seconds" not in rows[-1]:  # it is timed a moment later
            rows.pop()
        if self.opened is None:
            complete = self.note.rows == len(rows) and self.note.result == (result is not None)
            if not self.to_server and (complete or not final):  # a folder is written in one go
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
        config, launches = self.run.config(), list(parsed_lines(self.run.launches_jsonl))
        self.lock.enter_context(files.lock(self.run.wandb_lock))
        if not self.to_server:
            self._drop_folders(but=self.note.offline)  # one whose writer was killed
        self.opened = wandb_api.open_run(
            self.note.address,
            self.run.folder.parent,
            to_server=self.to_server,
            name=config.label,
            group=config.study,
            job_type=config.arm,
            tags=keys.tags(config),
            config=keys.config(config, launches[-1] if launches else {}),
        )
        if self.to_server:
            self.next_step = self.opened.starting_step
        else:
            left = rows[self.note.rows :]
            self.next_step = left[0]["iteration"] if left else sys.maxsize

    def _close(self, rows: Sequence[dict[str, Any]], result: dict[str, Any] | None) -> None:
        opened, self.opened = self.opened, None
        with wandb_api.tracking_errors():
            if result is not None:
                opened.summary.update(keys.summary(self.run.config(), result, rows))
            entity = opened.entity or self.note.entity
            opened.finish(exit_code=0 if result is not None else 1)
        if self.to_server:
            self._drop_folders()  # else `wandb sync` would send those rows again
        offline = tuple(path.name for path in self._folders())
        self.note = replace(
            self.note, rows=len(rows), result=result is not None, entity=entity, offline=offline
        )
        _save(self.run, self.note)
        self.lock.close()

    def abandon(self) -> None:
        """Forget an open run: the next `send` asks the server how far it is."""
        self.opened = None
        wandb_api.tear_down()
        self.lock.close()

    def _folders(self) -> list[Path]:
        return sorted(self.run.folder.parent.glob(f"wandb/offline-run-*-{self.note.id}"))

    def _drop_folders(self, but: Sequence[str] = ()) -> None:
        for path in self._folders():
            synced = any(path.glob("*.synced")) or any(path.glob("*.syncstate"))
            if path.name not in but and not synced:
                files.remove_folder(path)


def follow(runs: Sequence[RunDir], ended: threading.Event) -> None:
    """Send the rows of `runs` until each is complete, or training has ended and all is sent."""
    try:
        pending = [Upload(run, note) for run in runs if (note := read_note(run))]
    except NOT_NOW as error:
        log.warning("W&B gets no rows (%s); %s", error, LATER)
        return
    while pending:
        over = ended.is_set()
        pending = [upload for upload in pending if not _followed(upload, over)]
        time.sleep(POLL / 5) if over else ended.wait(POLL)


def _followed(upload: Upload, over: bool) -> bool:
    """Send what there is; whether nothing more is to be done. Never raises."""
    name = upload.run.name
    if not over and time.monotonic() < upload.retry_at:
        return False
    try:
        return upload.send(final=over)
    except NOT_NOW as error:
        log.warning("%s: W&B gets no rows (%s); %s", name, error, LATER)
        return True
    except (TrackingError, files.StorageError) as error:
        upload.abandon()
        if not upload.retry_at:
            log.warning("%s: W&B is out of reach (%s); trying again, or %s", name, error, LATER)
        upload.retry_at = time.monotonic() + RETRY
        return False


def _follow_until_end(folders: Sequence[str]) -> int:
    """What the process does: its standard input is closed when training has ended."""
    os.nice(19)  # it takes what training leaves of the processor
    console.show_messages()
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=[ended], daemon=True).start()
    follow([RunDir(Path(folder)) for folder in folders], ended)
    return 0


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()
    time.sleep(LINGER)
    os._exit(0)  # wherever the other thread hangs


def send_all(run: RunDir, note: Note) -> bool:
    """Send what W&B lacks of one run, and check it there; whether there was anything to send.

    Raises TrackingError, RunDirError and files.StorageError.
    """
    upload, rows = Upload(run, note), run.rows()
    wanted = rows[-1]["iteration"] if rows else -1
    if upload.to_server:
        there = wandb_api.last_step(note.address)
        if there > wanted:
            raise TrackingError(
                f"iteration {there} is there, and {run.curves} ends at {wanted}: "
                f"delete the run {note.address.path} in W&B"
            )
        if there == wanted and note.result == (run.result() is not None):
            return False
    elif not _is_behind(run):
        return False
    try:
        upload.send(final=True)
    except BaseException:
        upload.abandon()
        raise
    if upload.to_server:
        _check_arrival(upload.note.address, wanted)
    return True


def _check_arrival(address: Address, wanted: int) -> None:
    for pause in range(CHECKS):
        time.sleep(pause)
        if (there := wandb_api.last_step(address)) == wanted:
            return
    raise TrackingError(f"iteration {there} of {wanted} has arrived")


def main(arguments: list[str]) -> int:
    """The command; 0: all is there, 1: something stayed behind. Raises RunDirError."""
    if arguments[:1] == ["--follow"]:
        return _follow_until_end(arguments[1:])
    options = _parse(arguments)
    console.show_messages()
    folder = Path(options.runs).expanduser()
    if not folder.is_dir():
        raise RunDirError(f"{folder}: must be a folder of runs: degradation sync [runs/]")
    notes = {run: _note(run, options) for run in runs_in(folder)}
    wanted = {run: note for run, note in notes.items() if note and note.mode != "disabled"}
    sent = behind = 0
    for run, note in tqdm(wanted.items(), desc="W&B", unit="run", disable=None):
        try:
            sent += send_all(run, note)
        except (TrackingError, RunDirError, files.StorageError) as error:
            behind += 1
            tqdm.write(f"{run.name} stays behind: {error}", file=sys.stderr)
    complete = len(wanted) - sent - behind
    print(f"{sent} runs sent, {behind} left behind, {complete} complete before")
    if any(folder.glob("wandb/offline-run-*")):
        print(
            f"without a server, in {folder}/wandb: `wandb sync {folder}/wandb/offline-run-*` "
            "sends them; or `wandb login`, and this command again"
        )
    return 1 if behind else 0


def _note(run: RunDir, options: argparse.Namespace) -> Note | None:
    """Where the run goes: to --project, if that is given, whatever its settings say."""
    note = read_note(run)
    if options.project and (note is None or note.project != options.project):
        return Note(note.id if note else run.name, "auto", options.project, options.entity)
    # Whoever calls the command wants the rows of offline runs sent, if there is a key.
    return replace(note, mode="auto") if note and note.mode == "offline" else note


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="degradation sync",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    parser.add_argument(
        "--project", help="send all runs there, those of machine.wandb=disabled, too"
    )
    parser.add_argument("--entity", help="of the project; W&B's default for the key")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
