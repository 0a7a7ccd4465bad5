"""The columns of a log row, each once: name, label and unit, for files, W&B and figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from degradation.system.console import did_you_mean, short_repr


@dataclass(frozen=True)
class Column:
    """One number of a row; None where it is not finite."""

    name: str
    label: str
    unit: str = ""

    @property
    def axis_label(self) -> str:
        """`training error (%)`: what stands beside an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


CURVES = (
    Column("iteration", "iterations"),
    Column("epoch", "epochs"),
    Column("lr", "learning rate"),
    Column("train_loss", "training loss", "nats"),
    Column("train_error", "training error", "%"),
    Column("gradient_norm", "gradient norm"),
    Column("test_loss", "test loss", "nats"),
    Column("test_error", "test error", "%"),
    Column("validation_loss", "validation loss", "nats"),
    Column("validation_error", "validation error", "%"),
    Column("train_error_eval", "training error in eval mode", "%"),
)
"""Of curves.jsonl, in the order in which a row has them: a pure function of the run's settings."""

TIMING = (
    Column("seconds", "training time since the last row", "s"),
    Column("evaluation_seconds", "evaluation time of the row", "s"),
    Column("images_per_second", "throughput", "images/s"),
    Column("peak_memory_bytes", "peak memory", "bytes"),
)
"""Of timing.jsonl: they differ from machine to machine."""

COLUMNS = {column.name: column for column in (*CURVES, *TIMING)}
REQUIRED = ("iteration", "train_error", "test_error")
ERRORS = ("train_error", "test_error")


def row_fault(row: Mapping[str, Any], last: int = -1) -> str:
    """What makes `row` no row of curves.jsonl after iteration `last`; "" for a sound one."""
    for key in REQUIRED:
        if key not in row:
            return f"no {key}; a row has {', '.join(REQUIRED)}, …"
    for key, value in row.items():
        if key not in COLUMNS:
            return f"{short_repr(key)}: no such column{did_you_mean(key, COLUMNS)}"
        if not (value is None or type(value) in (int, float)):
            return f"{key}={short_repr(value)}: must be a number or null"
    if type(row["iteration"]) is not int:
        return f"iteration={row['iteration']}: must be a whole number"
    if row["iteration"] <= last:
        return f"iteration={row['iteration']} behind {last}: must rise"
    return ""
