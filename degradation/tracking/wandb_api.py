"""W&B's library, imported here alone: a run opened, closed and read back, in a server or a folder.

A server numbers the lines of a run's history, and says how far it is when a run is opened again: a
line that is sent twice lands on itself. A folder (`offline-run-…`, for `wandb sync`) has no such
memory: what two of them hold of one run is sent twice, so a run has one, which is written anew.
Whatever the library raises becomes one of three errors in one line, without a key in it.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from degradation.config import validation
from degradation.system import console
from degradation.system import files as storage

INIT_TIMEOUT = 20.0  # seconds for the server's first answer
FINISH_TIMEOUT = 30.0  # … for its last one
READ_TIMEOUT = 20
TRANSMIT = 5.0  # … between two lots of rows; wandb's own 15 is for those who log each step
RETRIES = (2.0, 30.0)  # least and most seconds between two tries of wandb's process
MODES = ("auto", "online", "offline", "disabled")
LOOKS = 3  # at a server that may take a moment to show what it has taken


class Absent(RuntimeError):
    """wandb can't be imported."""


class Refused(RuntimeError):
    """The server knows no such key, or doesn't let it write there."""


class Unreachable(RuntimeError):
    """The server, or wandb's own process, didn't do it this time; it may later."""


@dataclass(frozen=True)
class Address:
    """Where a run is."""

    project: str
    entity: str | None
    id: str

    @property
    def path(self) -> str:
        return "/".join(part for part in (self.entity, self.project, self.id) if part)


@dataclass(frozen=True)
class Opened:
    """A run that takes rows."""

    wandb: Any
    address: Address
    online: bool
    begin: int
    """The least step that it lacks."""


def library() -> Any:
    """The module `wandb`, told to stay by itself. Raises Absent and Refused."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # else it looks up a host, offline too
    os.environ["WANDB_SILENT"] = "true"
    if "@" in os.environ.get("WANDB_BASE_URL", ""):
        raise Refused("WANDB_BASE_URL=…: must hold no password, which W&B would print; put the key "
                      "into WANDB_API_KEY")  # fmt: skip
    if "WANDB_SWEEP_ID" not in os.environ:  # it would merge all runs of a study
        os.environ.pop("WANDB_RUN_ID", None)
    try:
        import wandb  # a second that nothing else pays for
    except Exception as error:  # an ImportError, or whatever a broken installation raises
        raise Absent(f"wandb can't be imported ({in_a_line(error)}): "
                     "pip install 'wandb>=0.31'") from error  # fmt: skip
    return wandb


def online(wanted: str) -> bool:
    """Whether rows go to a server. auto: WANDB_MODE where it is set, else where a key is.

    Raises schema.ConfigError for a mode that there isn't.
    """
    if wanted == "auto":
        wanted = os.environ.get("WANDB_MODE", "auto")
        if wanted not in (*MODES, "shared"):
            raise validation.ConfigError(f"WANDB_MODE={console.short_repr(wanted)}: must be {', '.join(MODES)}"
                                 f"{console.did_you_mean(wanted, MODES)}")  # fmt: skip
    if wanted == "auto":
        return has_key()
    return wanted in ("online", "shared")


@cache  # once wandb's own process has died, the answer would be no
def has_key() -> bool:
    """Whether a key is configured; asks no one, and needs no network."""
    wandb = library()
    with in_our_words():
        return bool(wandb.login(prompt=False, verify=False))


def open_run(address: Address, folder: Path, *, to_server: bool, **said: Any) -> Opened:
    """Begin the run, or go on with it. `folder`: of the run folders; `said`: as `wandb.init` says.

    Raises Absent, Refused and Unreachable.
    """
    wandb = library()
    if to_server and not has_key():
        raise Refused("no W&B key is configured: `wandb login`, or set WANDB_API_KEY")
    named = os.environ.get("WANDB_RUN_ID", address.id)
    if named != address.id:  # a sweep's environment has the last word in wandb.init
        raise ValueError(f"a sweep's agent has begun {named}: one run a command, without -m")
    kept = [] if to_server else _begin_folder(folder, address.id)
    with in_our_words():
        try:
            run = wandb.init(
                mode="online" if to_server else "offline", dir=str(folder),
                project=address.project, entity=address.entity, id=address.id, resume="allow",
                reinit="finish_previous", settings=_settings(wandb, to_server), **said,
            )  # fmt: skip
            run.define_metric("iteration")
            run.define_metric("*", step_metric="iteration")
        except Exception:
            forget()
            raise
    begin = run.starting_step if to_server else kept[-1]["_step"] + 1 if kept else 0
    found = Address(address.project, run.entity or address.entity, address.id)
    return Opened(run, found, to_server, begin)


def _settings(wandb: Any, to_server: bool) -> dict[str, Any]:
    """Made anew each time: a Settings object would carry one run's name to the next."""
    wanted = {
        "console": "off", "silent": True, "quiet": True, "save_code": False, "disable_git": True,
        "init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT,
        "finish_timeout_raises": True,
        "x_file_stream_transmit_interval": TRANSMIT,
        "x_file_stream_retry_wait_min_seconds": RETRIES[0],
        "x_file_stream_retry_wait_max_seconds": RETRIES[1],
        "x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True,
        "x_save_requirements": False,
        # curves.jsonl is what a server is fed from, now and later: no second copy of it.
        "x_skip_transaction_log": to_server,
    }  # fmt: skip
    known = wandb.Settings.model_fields
    return {key: value for key, value in wanted.items() if key in known}


def log(opened: Opened, row: dict[str, Any]) -> None:
    """Hand one row to wandb's process, which says nothing of its arrival. Raises Unreachable."""
    with in_our_words():
        opened.wandb.log(row, step=row["iteration"], commit=True)  # else it waits for the next


def finish(opened: Opened, summary: dict[str, Any], exit_code: int) -> None:
    """Close the run. Raises Unreachable where the server doesn't answer."""
    with in_our_words():
        try:
            if summary:
                opened.wandb.summary.update(summary)
            opened.wandb.finish(exit_code=exit_code)
        except Exception:
            forget()
            raise


def forget() -> None:
    """End wandb's process, whatever it still holds: the rows are on the disk."""
    try:
        library().teardown()
    except Exception:  # it has ended by itself, then
        return


def server_rows(address: Address, expected: int = 0) -> list[dict[str, Any]]:
    """The history that the server has. Raises Refused and Unreachable."""
    wandb = library()
    with in_our_words():
        for look in range(LOOKS):
            run = wandb.Api(timeout=READ_TIMEOUT).run(address.path)
            found = list(run.scan_history(use_cache=False))
            if len(found) >= expected:
                break
            time.sleep(look)
    return found


def project_runs(path: str) -> Iterator[Any]:
    """The runs of `entity/project` as wandb's public API has them.

    Raises Refused without a key, or where the project isn't there, and Unreachable.
    """
    wandb = library()
    if not has_key():
        raise Refused("no W&B key is configured: `wandb login`, or set WANDB_API_KEY")
    with in_our_words():
        try:
            yield from wandb.Api(timeout=READ_TIMEOUT).runs(path, lazy=False)
        except ValueError as error:
            raise Refused(f"{path}: {in_a_line(error)}; give entity/project as W&B's page of the "
                          "project has them") from error  # fmt: skip


def history(run: Any) -> list[dict[str, Any]]:
    """All rows of one of `project_runs`, never sampled. Raises Refused and Unreachable."""
    with in_our_words():
        return list(run.scan_history(use_cache=False))


def folders(folder: Path, id: str) -> list[Path]:
    """The offline folders of a run, oldest first."""
    return sorted((folder / "wandb").glob(f"offline-run-*-{id}"))


def synced(path: Path) -> bool:
    """Whether `wandb sync` has sent it, or begun to."""
    return any(path.glob("*.synced")) or any(path.glob("*.syncstate"))


def folder_rows(folder: Path, id: str) -> list[dict[str, Any]]:
    """The history in a run's offline folders, read back from the disk. Raises Unreachable."""
    found = []
    for path in folders(folder, id):
        words = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        done = subprocess.run(words, capture_output=True, text=True)
        records = map(json.loads, filter(None, done.stdout.splitlines()))
        found += [record["history"]["item"] for record in records if record["type"] == "history"]
    return found


def drop_folders(folder: Path, id: str) -> None:
    """Remove a run's offline folders that `wandb sync` would send again."""
    for path in folders(folder, id):
        if not synced(path):
            storage.remove_folder(path)


def _begin_folder(folder: Path, id: str) -> list[dict[str, Any]]:
    """Make room for the one folder of a run; the rows of those that have been sent."""
    drop_folders(folder, id)
    return folder_rows(folder, id)


def send_media(address: Address, folder: Path, files: Sequence[Path], **said: Any) -> str:
    """Log images and tables (.png, .csv) in a run of their own; its address.

    Raises Refused and Unreachable.
    """
    wandb = library()
    opened = open_run(address, folder, to_server=True, **said)
    with in_our_words():
        media = {f"{_kind(path)}/{path.stem}": _media(wandb, path) for path in files}
        opened.wandb.log(media)
    finish(opened, {}, 0)
    return str(opened.wandb.url or opened.address.path)


def _kind(path: Path) -> str:
    return "figure" if path.suffix == ".png" else "table"


def _media(wandb: Any, path: Path) -> Any:
    if path.suffix == ".png":
        return wandb.Image(str(path))
    import pandas as pd

    return wandb.Html(pd.read_csv(path).to_html(index=False), inject=False)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turn whatever wandb raises into Refused or Unreachable."""
    try:
        yield
    except (Absent, Refused, Unreachable):
        raise
    except Exception as error:
        text = in_a_line(error)
        kind = Refused if re.search(r"\b40[13]\b|permission|API key", text) else Unreachable
        raise kind(text) from None  # its traceback may hold the key


def in_a_line(error: BaseException) -> str:
    """The first line of what an error says, without a key."""
    line = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    if key := os.environ.get("WANDB_API_KEY"):
        line = line.replace(key, "…")
    return re.sub(r"\b[0-9a-f]{40}\b", "…", line)
