"""W&B → run folders: what was sent, as the runs room has it, so that everything else just works.

    python analysis/plot_curves.py --wandb entity/project

The folders are a cache: a run that is there with its result is not downloaded again, and a download
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

from degradation.config import validation
from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import files
from degradation.tracking import keys, wandb_api

log = logging.getLogger("degradation")

CACHE = Path("wandb-runs")


def fetch(path: str) -> Path:
    """Bring the runs of `entity/project` into a folder of run folders; that folder.

    Raises RunDirError for what can't be used or reached.
    """
    folder = CACHE.joinpath(*wandb_api.entity_and_project(path))
    try:
        runs = wandb_api.project_runs(path)
        bar = tqdm(runs, desc=f"W&B {path}", unit="run", disable=None, leave=False)
        count = sum(_fetch_run(run, folder) for run in bar)
    except wandb_api.TrackingError as error:
        raise RunDirError(f"{path}: {error}; once mended, the same command goes on") from error
    log.info("%d of %d runs of %s are in %s", count, len(runs), path, folder)
    return folder


def _fetch_run(wandb_run: Any, folder: Path) -> bool:
    """Write one run's folder, unless it is complete already; whether it is one of ours."""
    try:
        config = validation.read(RunConfig, wandb_run.config.get("run"), "run")
    except validation.ConfigError:
        # It is someone else's run, or the study's figures.
        return False
    run, summary = RunDir.of(config, folder), dict(wandb_run.summary)
    if run.result() is not None and run.result() == _result(summary, run.rows()):
        return True
    history = wandb_api.history(wandb_run)
    rows = [keys.row_of(row) for row in history if "iteration" in row]
    curves = _lines(rows)
    if summary.get("curves_sha256") not in (None, hashlib.sha256(curves).hexdigest()):
        raise RunDirError(
            f"{wandb_run.id}: the rows in W&B are not those that were trained (their digest "
            "differs); delete the run there, and `degradation sync` sends it again"
        )
    timing = [keys.timing_of(row) for row in history if "seconds" in row]
    run.create(config)
    # The result is written last, here as in training.
    files.remove(run.done_json)
    files.write_atomically(run.curves, curves)
    files.write_atomically(run.timing_jsonl, _lines(timing))
    files.write_atomically(run.launches_jsonl, _lines([wandb_run.config.get("launch") or {}]))
    if summary.get("exact") is False:
        files.write_atomically(run.resume_mismatches, _lines([{"why": "as W&B has it"}]))
    if result := _result(summary, rows):
        files.write_json(run.done_json, result)
    return True


def _result(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What done.json holds of a finished run, as far as W&B has it."""
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
