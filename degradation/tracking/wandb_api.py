"""W&B's library, imported here alone: a run is opened, closed and read back.

A server numbers the rows of a run and says, when the run is opened again, how many it has: so each
row is sent once. Whatever the library raises becomes a TrackingError of one line, without a key.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from degradation.runs.run_dir import RunDirError

READ_TIMEOUT = 20  # seconds
SETTINGS: dict[str, Any] = {
    "init_timeout": 20.0,  # seconds for the server's first answer
    "finish_timeout": 30.0,  # … for its last one
    "finish_timeout_raises": True,
    # … between two deliveries of rows; wandb's own 15 are for every step.
    "x_file_stream_transmit_interval": 5.0,
    "console": "off",
    "silent": True,
    "quiet": True,
    "save_code": False,
    "disable_git": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


class TrackingError(RuntimeError):
    """W&B did not do it this time; it may later."""


class RefusedError(TrackingError):
    """Trying again will not help: no wandb, no key, or a key that may not write there."""


def library() -> Any:
    """The module `wandb`, told to stay silent. Raises RefusedError."""
    # Without this, wandb looks up a host even when it is offline.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    # One id for all runs of a study would merge them.
    if "WANDB_SWEEP_ID" not in os.environ:
        os.environ.pop("WANDB_RUN_ID", None)
    try:
        # Importing wandb takes a second, which nothing else pays for.
        import wandb
    except Exception as error:
        # A broken installation may raise anything.
        raise RefusedError(
            f"wandb can't be imported ({_one_line(error)}): pip install 'wandb>=0.31'"
        ) from error
    return wandb


def disabled(mode: str) -> bool:
    """Whether neither a server nor a folder is to get rows."""
    return mode == "disabled" or (mode == "auto" and os.environ.get("WANDB_MODE") == "disabled")


def online(mode: str) -> bool:
    """Whether rows go to a server. auto: as WANDB_MODE says, else where a key is configured.

    Raises RefusedError for a WANDB_MODE that there is not.
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    if mode not in ("online", "shared", "offline", "disabled"):
        raise RefusedError(f"WANDB_MODE={mode}: must be online, offline or disabled")
    return mode in ("online", "shared")


# Cached, as the answer would be no once wandb's own process has died.
@cache
def has_key() -> bool:
    """Whether a key is configured; asks no one, and needs no network."""
    with tracking_errors() as wandb:
        return bool(wandb.login(prompt=False, verify=False))


def check_key() -> None:
    """Raise RefusedError where no key is configured."""
    if not has_key():
        raise RefusedError("no W&B key is configured: `wandb login`, or set WANDB_API_KEY")


def open_run(folder: Path, *, to_server: bool, **arguments: Any) -> Any:
    """A `wandb.Run`, begun or resumed; `folder` holds the run folders; `arguments`: of wandb.init.

    Its `starting_step` is the first step that the server lacks. Raises TrackingError.
    """
    if to_server:
        check_key()
    with tracking_errors() as wandb:
        try:
            run = wandb.init(
                mode="online" if to_server else "offline",
                dir=str(folder),
                resume="allow",
                reinit="create_new",
                # A server is sent curves.jsonl, now and later: no second copy of it.
                settings=SETTINGS | {"x_skip_transaction_log": to_server},
                **arguments,
            )
            run.define_metric("iteration")
            run.define_metric("*", step_metric="iteration")
        except Exception:
            tear_down()
            raise
    return run


def tear_down() -> None:
    """End wandb's own process, whatever it still holds: the rows are on the disk."""
    try:
        library().teardown()
    except Exception:
        # The process has ended by itself.
        return


def last_step(path: str) -> int:
    """The step of the last row that the server has of a run; -1 where it has none, or no such run.

    Raises TrackingError.
    """
    with tracking_errors() as wandb:
        try:
            run = wandb.Api(timeout=READ_TIMEOUT).run(path)
        except (ValueError, wandb.CommError) as error:
            if "Could not find" in str(error):
                return -1
            raise
        return int(run.lastHistoryStep)


def entity_and_project(path: str) -> tuple[str, str]:
    """The two parts of `entity/project`. Raises RunDirError."""
    entity, _, project = path.partition("/")
    if not (entity and project) or "/" in project:
        raise RunDirError(f"{path}: must be entity/project")
    return entity, project


def project_runs(path: str) -> list[Any]:
    """The runs of `entity/project`, as wandb's public API has them. Raises TrackingError."""
    check_key()
    with tracking_errors() as wandb:
        return list(wandb.Api(timeout=READ_TIMEOUT).runs(path, lazy=False))


def history(run: Any) -> list[dict[str, Any]]:
    """All rows of one of `project_runs`, never sampled. Raises TrackingError."""
    with tracking_errors():
        return list(run.scan_history(use_cache=False))


@contextmanager
def tracking_errors() -> Iterator[Any]:
    """The module `wandb`; whatever it raises inside becomes a TrackingError."""
    wandb = library()
    try:
        yield wandb
    except TrackingError:
        raise
    except Exception as error:
        text = _one_line(error)
        refused = re.search(r"\b40[13]\b|permission|API key", text)
        # The original error may hold the key.
        raise (RefusedError if refused else TrackingError)(text) from None


def _one_line(error: BaseException) -> str:
    """The first line of an error's message, without a key."""
    line = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    if key := os.environ.get("WANDB_API_KEY"):
        line = line.replace(key, "…")
    return re.sub(r"\b[0-9a-f]{40}\b", "…", line)
