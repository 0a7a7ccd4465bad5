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
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir, RunDirError, runs_in
from degradation.system import console, files
from degradation.tracking import wandb_api
from degradation.tracking.upload import Note, Upload, is_behind, read_note, send_all, write_note
from degradation.tracking.wandb_api import RefusedError, TrackingError

log = logging.getLogger("degradation")

FOLLOW = [sys.executable, "-m", "degradation.tracking.sync", "--follow"]
POLL = 1.0  # seconds between two readings of the rows
RETRY = 10.0  # … between two attempts at a server that does not answer
LINGER = 15.0  # … that the process has for the rest, once training has ended
GRACE = 8.0  # … that a study waits for it in the end
LATER = "`degradation sync` sends the rows later"
NOT_NOW = (RefusedError, RunDirError)
"""Where trying again does not help."""


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
            if wandb_api.disabled(settings.machine.wandb):
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
            self.senders.append(sender)
        except OSError as error:
            log.warning("W&B gets no rows now (%s)", error)

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
            # The process that wandb itself started ends when it notices.
            sender.kill()
            sender.wait()
        self.senders.clear()
        while behind := [run for run in runs if is_behind(run)]:
            # A launcher's processes have senders of their own.
            if time.monotonic() > until or not any(files.is_locked(r.wandb_lock) for r in behind):
                break
            time.sleep(0.1)
        return [run.name for run in behind]


def follow(folders: Sequence[str]) -> int:
    """Send the rows of these runs until each is complete, or training has ended and all is sent.

    What the process of its own does; its standard input is closed when training has ended.
    """
    # Only what training leaves of the processor is used.
    os.nice(19)
    console.show_messages()
    try:
        runs = [RunDir(Path(folder)) for folder in folders]
        pending = [Upload(run, note) for run in runs if (note := read_note(run))]
    except NOT_NOW as error:
        log.warning("W&B gets no rows (%s); %s", error, LATER)
        return 0
    while pending and not select.select([sys.stdin], [], [], POLL)[0]:
        pending = [upload for upload in pending if not _is_over(upload, final=False)]
    # wandb may hang anywhere; this signal ends the process.
    signal.setitimer(signal.ITIMER_REAL, LINGER)
    while pending:
        pending = [upload for upload in pending if not _is_over(upload, final=True)]
        time.sleep(POLL / 5)
    return 0


def _is_over(upload: Upload, *, final: bool) -> bool:
    """Send what there is; whether nothing more is to be done. Never raises."""
    name = upload.run.name
    if not final and time.monotonic() < upload.retry_at:
        return False
    try:
        return upload.send(final=final)
    except NOT_NOW as error:
        log.warning("%s: W&B gets no rows (%s); %s", name, error, LATER)
        upload.lock.close()
        return True
    except (TrackingError, files.StorageError) as error:
        upload.abandon()
        if not upload.retry_at:
            log.warning("%s: W&B is out of reach (%s); trying again, or %s", name, error, LATER)
        upload.retry_at = time.monotonic() + RETRY
        return False


def main(arguments: list[str]) -> int:
    """The command; 0: all is there, 1: something stayed behind. Raises RunDirError."""
    if arguments[:1] == ["--follow"]:
        return follow(arguments[1:])
    parser = console.parser("sync", __doc__)
    add = parser.add_argument
    add("runs", nargs="?", default="runs", help="folder of the run folders")
    add("--project", help="send all runs there, those of machine.wandb=disabled, too")
    add("--entity", help="of the project; W&B's default for the key")
    options = parser.parse_args(arguments)
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
    how = "sent" if wandb_api.has_key() else "written offline"
    print(f"{sent} runs {how}, {behind} left behind, {complete} were complete")
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


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
