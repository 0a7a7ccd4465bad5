"""Runs and their curves as pandas frames, each line with what identifies the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir, parsed_lines, runs_in
from degradation.system.console import short_repr

if TYPE_CHECKING:
    import pandas as pd


def load(folder: str | Path) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Two tables: a line a run below `folder`, and a line a row of one.

    Both have the columns of `describe` (run, data, arm, depth, seed, …), the second also those of
    `columns.CURVES` that occur. Errors are in percent. Raises RunDirError and files.StorageError.
    """
    # Importing pandas takes half a second, which training and status never need.
    import pandas as pd

    runs, lines = [], []
    for run in runs_in(folder):
        described = describe(run)
        runs.append(described)
        lines += [described | row for row in run.rows()]
    return pd.DataFrame(runs), pd.DataFrame(lines)


def identify(config: RunConfig) -> dict[str, Any]:
    """What identifies a run in a table.

    `pair` is equal for runs that differ at most in the shortcut, `protocol` for those that share
    everything but shortcut, depth and seed; `drop` is the first milestone.
    """
    return {
        "study": config.study,
        "variant": config.variant,
        "data": config.data.name,
        "arm": config.arm,
        "depth": config.depth,
        "seed": config.seed,
        "shortcut": config.model.shortcut,
        "pair": config.pair,
        "protocol": config.protocol,
        "iterations": config.recipe.iterations,
        "drop": config.recipe.milestones[0] if config.recipe.milestones else None,
    }


def describe(run: RunDir) -> dict[str, Any]:
    """What identifies a run, and its state.

    `initial` and `stream` are the digests of the initial tensors and of the order of the images;
    `device` is what the last process ran on; `exact` says that every resume reproduced its rows.
    """
    config = run.config()
    launches = list(parsed_lines(run.launches_jsonl))
    last = launches[-1] if launches else {}
    digests, fingerprint = last.get("digests") or {}, last.get("fingerprint") or {}
    return {
        "run": run.name,
        "folder": str(run.folder),
        **identify(config),
        "state": run.state(),
        "exact": not run.resume_mismatches.exists(),
        "initial": _text(digests.get("initial")),
        "stream": _text(digests.get("stream")),
        "device": _text(fingerprint.get("gpu") or fingerprint.get("device")),
        "commit": _text(last.get("commit")),
    }


def _text(value: Any) -> str | None:
    return None if value is None else short_repr(str(value))
