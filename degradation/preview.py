"""The dashboard as it should look, drawn from run folders out of the same definitions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from degradation import entries, logged, status
from degradation.panels import PANELS, Panel
from degradation.store import Foreign, Run, runs_in

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = 3
STYLES = ("-", "--")
DATE_FREE = {"Software": None}


def draw(runs: Path, out: Path) -> None:
    """All panels and the table, in a PNG. Raises Foreign where there is nothing to draw."""
    from matplotlib.figure import Figure

    rows, finals = frames(runs)
    if rows.empty:
        raise Foreign(f"{runs} holds no run with a row yet")
    lines = -(-len(PANELS) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.1 * lines + 1.6), dpi=72, layout="constrained")
    grid = figure.add_gridspec(lines + 1, COLUMNS, height_ratios=[*[3.1] * lines, 1.4])
    for index, panel in enumerate(PANELS):
        axes = figure.add_subplot(grid[index // COLUMNS, index % COLUMNS])
        _panel(axes, panel, rows if panel.kind == "lines" else finals)
    axes = figure.add_subplot(grid[lines, :])
    axes.axis("off")
    axes.text(0, 1, status.table(entries.of_folder(str(runs))) or "no finished run", va="top",
              family="monospace", fontsize=7)  # fmt: skip
    figure.savefig(out, metadata=DATE_FREE)


def frames(runs: Path) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """What W&B would hold: a line a row, and a line a run with its summary; config beside both."""
    import pandas as pd

    lines, finals = [], []
    for run in runs_in(runs):
        config, rows = _config(run), logged.rows(run)
        lines += [config | row for row in rows]
        if result := run.result():
            finals.append(config | logged.summary(run.point(), result, rows))
    return pd.DataFrame(lines), pd.DataFrame(finals)


def _config(run: Run) -> dict[str, Any]:
    return {k: v for k, v in logged.config(run.point(), {}).items() if not isinstance(v, dict)}


def _panel(axes: Any, panel: Panel, frame: "pd.DataFrame") -> None:
    axes.set_title(panel.title, fontsize=8)
    axes.set_xlabel(panel.x, fontsize=7)
    axes.set_ylabel(", ".join(panel.y), fontsize=7)
    axes.tick_params(labelsize=6)
    if panel.log_y:
        axes.set_yscale("log")
    if panel.arm and not frame.empty:
        frame = frame[frame["arm"] == panel.arm]
    if frame.empty or not {*panel.y} <= {*frame}:  # runs of an older version lack columns
        return
    for color, (group, own) in enumerate(frame.groupby(panel.by)):
        if panel.kind == "points":
            axes.plot(own[panel.x], own[panel.y[0]], "o", ms=3, color=f"C{color}", label=group)
        else:
            _lines(axes, panel, own, f"C{color}", str(group))
    axes.legend(fontsize=6, title=panel.by, title_fontsize=6)


def _lines(axes: Any, panel: Panel, own: "pd.DataFrame", color: str, label: str) -> None:
    for key, style in zip(panel.y, STYLES, strict=False):
        runs = own.groupby(panel.x)[key]
        axes.plot(runs.mean(), style, lw=1, color=color, label=label if style == "-" else None)
        axes.fill_between(runs.mean().index, runs.min(), runs.max(), color=color, alpha=0.15, lw=0)
