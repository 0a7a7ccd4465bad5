"""What W&B gets of a run, and a run's rows out of what W&B returns: names and values alone.

`docs/what-is-logged.md` lists every key; a test keeps the two equal. Local paths and host names are
left out: they are no one's business there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from degradation.config import schema
from degradation.runs import reference
from degradation.runs.columns import CURVES, ERRORS, TIMING
from degradation.runs.run_dir import RunDir

LAUNCH = ("commit", "versions", "fingerprint", "parameters", "digests")
"""Of the last line of launches.jsonl."""


def rows(run: RunDir) -> list[dict[str, Any]]:
    """The rows as W&B gets them: those of curves.jsonl, each with its wall-clock figures.

    A row without them is the newest of a run in training, for a moment, or was written by a process
    that was killed just then.
    """
    timing: dict[int, dict[str, Any]] = {}
    # What was trained twice has two lines, of which the first counts.
    for line in run.timing():
        timing.setdefault(line.get("iteration", -1), line)
    return [row | _present(timing.get(row["iteration"], {}), TIMING) for row in run.rows()]


def config(config: schema.RunConfig, launch: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys to group and filter by, and the whole run under one of its own.

    `arm`, not `model`: a W&B sweep replaces the config key that has the name of its parameter.
    """
    whole = asdict(config)
    whole["data"]["root"] = "data"
    return {
        "study": config.study,
        "variant": config.variant,
        "arm": config.arm,
        "depth": config.depth,
        "seed": config.seed,
        "dataset": config.data.name,
        "shortcut": config.model.shortcut,
        "network": f"{config.arm}-{config.depth}",
        "pair": config.pair,
        "protocol": config.protocol,
        "hash": config.hash,
        "iterations": config.recipe.iterations,
        "batch_size": config.recipe.batch_size,
        "initial_lr": config.recipe.lr,
        "precision": config.numerics.precision,
        "launch": _present(launch, LAUNCH),
        "run": whole,
    }


def names(config: schema.RunConfig) -> dict[str, Any]:
    """What the run is called and listed under, as wandb.init takes it."""
    numbers = [f"depth-{config.depth}", f"seed-{config.seed}", f"recipe-{config.protocol}"]
    tags = [config.data.name, config.arm, *numbers]
    return {"name": config.label, "group": config.study, "job_type": config.arm, "tags": tags}


def summary(
    config: schema.RunConfig, result: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The headline is the last row; the least error is named `min_…`."""
    values: dict[str, Any] = {
        "outcome": result["outcome"],
        "exact": result.get("exact", True),
        "rows": len(curves),
        "end_iteration": result.get("iteration"),
        "curves_sha256": result.get("curves_sha256"),
    }
    if not curves:
        return values
    for name in ERRORS:
        values[f"last_{name}"] = last = curves[-1][name]
        values[f"min_{name}"] = min(row[name] for row in curves)
        network = config.data.name, config.arm, config.depth
        paper = reference.error(*network, name, config.recipe.iterations, config.variant)
        if paper is not None:
            values[f"paper_{name}"] = paper
            values[f"{name}_minus_paper"] = round(last - paper, 4)
    if (error := curves[-1].get("train_error_eval")) is not None:
        values["last_train_error_eval"] = error
    return values


def row_of(history: Mapping[str, Any]) -> dict[str, Any]:
    """A row of curves.jsonl out of one of W&B's history, in which 2.0 has become 2."""
    row = {key: history[key] for key in CURVES if key in history}
    floats = {key: value if value is None else float(value) for key, value in row.items()}
    return floats | {"iteration": int(history["iteration"])}


def timing_of(history: Mapping[str, Any]) -> dict[str, Any]:
    """Likewise a row of timing.jsonl."""
    timing = {key: history[key] for key in TIMING if key in history}
    return {"iteration": int(history["iteration"]), **timing}


def _present(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if values.get(key) is not None}
