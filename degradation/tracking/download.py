"""W&B -> run folders: what a mirror sent, as the store has it, so that everything else just works.

    python analysis/plot_curves.py --wandb entity/project

The folders are a cache: a run that is there with its result is not asked for again, and a fetch
that was cut goes on. Histories are complete, never sampled; a finished run's rows are checked
against the digest that its training left.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from degradation.config import schema, validation
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import files
from degradation.tracking import keys, wandb_api

log = logging.getLogger("degradation")

CACHE = Path("wandb-runs")


def fetch(path: str, cache: Path = CACHE) -> Path:
    """Bring the runs of `entity/project` into a folder of run folders, and say which.

    Raises RunDirError for what can't be used or reached, with what helps.
    """
    if path.count("/") != 1 or not all(path.split("/")):
        raise RunDirError(f"--wandb {path}: must be entity/project")
    folder = cache / path
    try:
        runs = list(wandb_api.project_runs(path))
        bar = tqdm(runs, desc=f"W&B {path}", unit="run", disable=None, leave=False)
        kept = sum(_bring(run, folder) for run in bar)
    except wandb_api.Unreachable as error:
        raise RunDirError(f"W&B is out of reach ({error}): what was fetched before is in {folder}, "
                      "and the same command goes on") from error  # fmt: skip
    except (wandb_api.Refused, wandb_api.Absent) as error:
        raise RunDirError(str(error)) from error
    log.info("%d of %d runs of %s are in %s", kept, len(runs), path, folder)
    return folder


def _bring(theirs: Any, folder: Path) -> bool:
    """Write one run's folder, unless it is there already; whether it is one of ours."""
    try:
        config = keys.point_of(theirs.config)
    except validation.ConfigError:  # someone else's run, or the study's figures
        return False
    run, summary = RunDir.of(config, folder), dict(theirs.summary)
    if run.result() is not None and run.result() == _result(summary, run.rows()):
        return True
    history = wandb_api.history(theirs)
    rows = [keys.row_of(row) for row in history if "iteration" in row]
    text = _lines(rows)
    digest = hashlib.sha256(text).hexdigest()
    if summary.get("curves_sha256") not in (None, digest):
        raise RunDirError(f"{theirs.id}: the rows in W&B are not those that were trained (their digest "
                      "differs); delete the run there, and `degradation sync` sends it "
                      "again")  # fmt: skip
    _write(run, config, text, rows, history, theirs.config.get("start") or {}, summary)
    return True


def _write(run: RunDir, config: schema.RunConfig, text: bytes, rows: Sequence[Mapping[str, Any]],
           history: Sequence[Mapping[str, Any]], start: Mapping[str, Any],
           summary: Mapping[str, Any]) -> None:  # fmt: skip
    """The folder's files, its run first and its result last."""
    run.create(config)
    files.remove(run.done_json)
    files.write_atomically(run.curves, text)
    timing = [keys.timing_of(row) for row in history if "seconds" in row]
    files.write_atomically(run.timing_jsonl, _lines(timing))
    files.write_atomically(run.launches_jsonl, _lines([dict(start)]))
    if summary.get("exact") is False:
        files.write_atomically(run.resume_mismatches, _lines([{"why": "as W&B has it"}]))
    if result := _result(summary, rows):
        files.write_json(run.done_json, result)


def _result(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What `done.json` says of a finished run, as far as the mirror has told."""
    if "outcome" not in summary:
        return None
    return {
        "outcome": summary["outcome"],
        "iteration": summary.get("end_iteration"),
        "exact": summary.get("exact", True),
        "last": dict(rows[-1]) if rows else None,
        "curves_sha256": summary.get("curves_sha256"),
    }


def _lines(values: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(value, allow_nan=False) + "\n" for value in values).encode()
