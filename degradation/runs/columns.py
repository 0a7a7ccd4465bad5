"""The columns of a log row, for files, W&B and figures; docs/what-is-logged.md has their units."""

from collections.abc import Mapping
from typing import Any

from degradation.system.console import did_you_mean, short_repr

CURVES = (
    "iteration",
    "epoch",
    "lr",
    "train_loss",
    "train_error",
    "gradient_norm",
    "test_loss",
    "test_error",
    "validation_loss",
    "validation_error",
    "train_error_eval",
)
"""Of curves.jsonl, in the order in which a row has them: a pure function of the run's settings."""

TIMING = ("seconds", "evaluation_seconds", "images_per_second", "peak_memory_bytes")
"""Of timing.jsonl: they differ from machine to machine."""

ERRORS = {"train_error": "training error", "test_error": "test error"}
"""Those of the paper, in percent, and their words in tables and figures."""
REQUIRED = ("iteration", *ERRORS)


def row_fault(row: Mapping[str, Any], last: int = -1) -> str:
    """What makes `row` no row of curves.jsonl after iteration `last`; "" for a sound one."""
    for key in REQUIRED:
        if key not in row:
            return f"no {key}; a row has {', '.join(REQUIRED)}, …"
    known = (*CURVES, *TIMING)
    for key, value in row.items():
        if key not in known:
            return f"{short_repr(key)}: no such column{did_you_mean(key, known)}"
        if not (value is None or type(value) in (int, float)):
            return f"{key}={short_repr(value)}: must be a number or null"
    if type(row["iteration"]) is not int:
        return f"iteration={row['iteration']}: must be a whole number"
    if row["iteration"] <= last:
        return f"iteration={row['iteration']} behind {last}: must rise"
    return ""
