"""What W&B is told of a run, and a run's rows out of what W&B tells: names and values, no W&B.

`docs/what-is-logged.md` lists every key; a test holds the two together. Local paths and host names
are left out: they are no one's business there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from degradation.config import schema, validation
from degradation.runs import reference
from degradation.runs.run_dir import RunDir

COLUMNS = (
    "iteration", "epoch", "lr", "train_loss", "train_error", "gradient_norm", "test_loss",
    "test_error", "validation_loss", "validation_error", "train_error_eval",
)  # fmt: skip
"""Of curves.jsonl, in the order in which a row has them; errors in percent."""
TIMING = ("seconds", "evaluation_seconds", "images_per_second", "peak_memory_bytes")
"""Of timing.jsonl: they differ from machine to machine."""
STARTED = ("commit", "versions", "fingerprint", "parameters", "digests")
"""Of the last line of launches.jsonl."""
ERRORS = ("train_error", "test_error")


def rows(run: RunDir) -> list[dict[str, Any]]:
    """The rows as W&B gets them: those of curves.jsonl, each with its wall-clock figures.

    A row without such figures is either the newest of a run in training, for a moment, or was
    written by a process that was killed just then.
    """
    timing: dict[int, dict[str, Any]] = {}
    for line in run.timing():  # what was trained twice appears twice: the first time counts
        timing.setdefault(line["iteration"], line)
    return [row | _known(timing.get(row["iteration"], {}), TIMING) for row in run.rows()]


def config(config: schema.RunConfig, start: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys to group and filter by, and the whole run under one of its own.

    `arm`, not `model`: a W&B sweep replaces the config key that has the name of its parameter.
    """
    whole = schema.plain(config)
    whole["data"]["root"] = "data"
    return {
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
        "batch": config.recipe.batch_size,
        "initial_lr": config.recipe.lr,
        "precision": config.numerics.precision,
        "start": _known(start, STARTED),
        "run": whole,
    }


def tags(config: schema.RunConfig) -> list[str]:
    return [
        config.data.name, config.arm, f"depth-{config.depth}", f"seed-{config.seed}",
        f"recipe-{config.protocol}",
    ]  # fmt: skip


def summary(
    config: schema.RunConfig, result: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The headline is the last row; the least error has a name that says what it is."""
    found: dict[str, Any] = {
        "outcome": result["outcome"],
        "exact": result.get("exact", True),
        "rows": len(curves),
        "end_iteration": result.get("iteration"),
        "curves_sha256": result.get("curves_sha256"),
    }
    if not curves:
        return found
    for name in ERRORS:
        found[f"last_{name}"] = last = curves[-1][name]
        found[f"min_{name}"] = min(row[name] for row in curves)
        theirs = reference.errors().get((config.data.name, config.arm, config.depth, name))
        if theirs is not None:
            found[f"paper_{name}"] = theirs
            found[f"{name}_minus_paper"] = round(last - theirs, 4)
    if (clean := curves[-1].get("train_error_eval")) is not None:
        found["last_train_error_eval"] = clean
    return found


def row_of(history: Mapping[str, Any]) -> dict[str, Any]:
    """A row of curves.jsonl out of one of W&B's history, in which 2.0 has become 2."""
    return {key: _number(key, history[key]) for key in COLUMNS if key in history}


def timing_of(history: Mapping[str, Any]) -> dict[str, Any]:
    """Likewise a row of timing.jsonl."""
    found = {"iteration": int(history["iteration"])}
    return found | {key: history[key] for key in TIMING if key in history}


def point_of(config: Mapping[str, Any]) -> schema.RunConfig:
    """The run of a run's configuration. Raises schema.ConfigError where there is none."""
    return validation.read(schema.RunConfig, config.get("run"), "run")


def _known(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: values[key] for key in keys if values.get(key) is not None}


def _number(key: str, value: Any) -> Any:
    if value is None:
        return None
    return int(value) if key == "iteration" else float(value)
