"""What a dashboard shows: panels as data, for W&B's objects and for the preview alike."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Panel:
    """One panel; `x`, `y` and `by` are keys of docs/what-is-logged.md."""

    title: str
    kind: Literal["lines", "points"]
    """lines: of rows, the mean over the runs of a group; points: one a run, of its summary."""
    x: str
    y: tuple[str, ...]
    by: str
    """The config key that makes the groups."""
    arm: str | None = None
    """The only arm it shows."""
    log_y: bool = False


PANELS = (
    Panel("Degradation: training error, plain", "lines", "iteration", ("train_error",), "depth",
          arm="plain"),
    Panel("The intervention: training error, residual", "lines", "iteration", ("train_error",), "depth",
          arm="residual"),
    Panel("The gap: final training error against depth", "points", "depth",
          ("last_train_error",), "arm"),
    Panel("Overfitting: test and training error", "lines", "iteration",
          ("test_error", "train_error"), "network"),
    Panel("Learning rate", "lines", "iteration", ("lr",), "network", log_y=True),
    Panel("Gradient norm", "lines", "iteration", ("gradient_norm",), "network", log_y=True),
    Panel("Throughput: images a second", "lines", "iteration", ("images_per_second",),
          "network"),
)  # fmt: skip
TABLE = (
    "last_train_error", "last_test_error", "min_test_error", "paper_train_error",
    "paper_test_error", "test_error_minus_paper",
)  # fmt: skip
"""Columns of the table beside the paper's, of a run's summary."""
VIEWS: dict[str, str | None] = {
    "degradation: plain": "plain", "intervention: residual": "residual", "both arms": None,
}  # fmt: skip
"""The saved views of a workspace, by the only arm that each shows: a workspace filters as a whole,
a panel can't."""


def of_view(arm: str | None) -> list[Panel]:
    """The panels that make sense where one arm alone is shown, or both."""
    if arm is None:
        return [panel for panel in PANELS if panel.arm is None]
    return [panel for panel in PANELS if panel.arm in (None, arm) and panel.by != "arm"]
