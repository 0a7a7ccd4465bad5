"""The paper's figures of errors over training from our rows: a study in, a matplotlib figure out.

Dashed is training, bold is test, a colour a depth. Thin lines are single seeds, the strong line is
the mean of the finished ones, faint ones are the paper's own curves, where the study has the
paper's data and length. A curve that is not finished ends in a dot, one that diverged in a cross.
The legend gives n, the value of a curve that ends above the frame, and what was not trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.plots import style as styles
from analysis.plots.style import DASHED, REFERENCE, SEED, SOLID, Style, subplots
from analysis.stats import inference
from degradation.runs.columns import ERRORS

LABELS = {name: f"{word} (%)" for name, word in ERRORS.items()}
VALIDATION = "val_error_center_crop"  # what the paper's Figure 4 has as its test error
MARKERS = {"diverged": "X", "running": "o", "partial": "o", "failed": "o"}  # at a curve's end


@dataclass(frozen=True)
class Panel:
    """Which networks a panel shows, within which limits, and where the paper shows them."""

    arm: str
    figure: str
    """The paper's figure, and its panel, that has the reference curves."""
    panel: str
    depths: tuple[int, ...]
    """The paper's; of another length or on other data those that were trained are shown."""
    x: tuple[float, float]
    """The paper's limits, in 1e4 iterations."""
    y: tuple[float, float]
    """The paper's limits, in percent."""
    deepest: int | None = None
    """On other data, only so many of the deepest."""

    def depths_of(self, study: Study) -> list[int]:
        if study.as_the_paper:
            return list(self.depths)
        trained = study.depths(self.arm)
        return trained[-self.deepest :] if self.deepest else trained

    def suits(self, study: Study) -> bool:
        """Whether it shows more than a panel of all depths does."""
        if self.deepest is None or study.as_the_paper:
            return True
        trained = study.depths(self.arm)
        return len(trained) > self.deepest and bool({*trained} & {*self.depths_of(study)})


Shown = tuple[str, Study, Panel]
"""A panel's title, the study it shows, and which of its networks."""

FIGURE1 = Panel("plain", "fig6", "left", (20, 56), (0, 6.4), (0, 20))
FIGURE6 = {
    "plain": Panel("plain", "fig6", "left", (20, 32, 44, 56, 110), (0, 6.4), (0, 20)),
    "residual": Panel("residual", "fig6", "middle", (20, 32, 44, 56, 110), (0, 6.4), (0, 20)),
    "residual, the deepest two": Panel(
        "residual", "fig6", "right", (110, 1202), (3.5, 6.4), (0, 20), deepest=2
    ),
}
FIGURE4 = {
    "plain": Panel("plain", "fig4", "left", (18, 34), (0, 55), (20, 63)),
    "residual": Panel("residual", "fig4", "right", (18, 34), (0, 55), (20, 63)),
}


def figure1(study: Study, style: Style) -> Figure:
    """Figure 1: training error | test error of the shallowest and the deepest plain net."""
    depths = FIGURE1.depths_of(study)
    ends = sorted({depths[0], depths[-1]}) if depths else []
    with subplots(style, 2) as (figure, axes):
        for axis, quantity in zip(axes[0], LABELS, strict=True):
            _panel(axis, study, FIGURE1, ends, {quantity: SOLID}, style)
            axis.set_ylabel(LABELS[quantity])
        styles.footnote(figure, _key([study], style, "bold: mean of seeds"))
    return figure


def figure4(study: Study, style: Style) -> Figure:
    """Figure 4: plain | residual on ImageNet; thin training, bold validation (center crop)."""
    shown = [(title, study, panel) for title, panel in panels_of(study).items()]
    return _arms(shown, style, SOLID, "thin: training error    bold: validation error")


def figure6(study: Study, style: Style) -> Figure:
    """Figure 6: plain | residual | the two deepest of three residual nets and more."""
    return _figure6([(title, study, panel) for title, panel in panels_of(study).items()], style)


def figure6_across(studies: Sequence[Study], style: Style) -> Figure | None:
    """Figure 6 with each panel from the first study that fills it, the paper's data first; None
    where one study fills them all, or none fills one."""
    ordered = sorted(studies, key=lambda study: not study.papers_data)
    shown = []
    for title, panel in FIGURE6.items():
        fitting = (s for s in ordered if panel.suits(s) and s.depths(panel.arm))
        if (study := next(fitting, None)) is None:
            return None
        named = f"{title}\n{study.data}, {study.iterations:,} iterations"
        shown.append((named, study, panel))
    return _figure6(shown, style) if len({study.name for _, study, _ in shown}) > 1 else None


def _figure6(shown: Sequence[Shown], style: Style) -> Figure:
    return _arms(shown, style, DASHED, "dashed: training error    bold: test error")


def panels_of(study: Study) -> dict[str, Panel]:
    """The panels of Figure 6, or of Figure 4, that a study can fill, by title."""
    shown = FIGURE4 if study.data == "imagenet" else FIGURE6
    return {title: panel for title, panel in shown.items() if panel.suits(study)}


def _arms(shown: Sequence[Shown], style: Style, train: object, key: str) -> Figure:
    """Both errors in each of the panels; `train`: the dashes of the training error."""
    dashes = {"train_error": train, "test_error": SOLID}
    with subplots(style, len(shown)) as (figure, axes):
        for axis, (title, study, panel) in zip(axes[0], shown, strict=True):
            _panel(axis, study, panel, panel.depths_of(study), dashes, style)
            axis.set(title=title, ylabel="error (%)")
        styles.footnote(figure, _key([study for _, study, _ in shown], style, key))
    return figure


def _key(studies: Sequence[Study], style: Style, key: str) -> str:
    """What the lines mean."""
    if any(study.rows["seed"].nunique() > 1 for study in studies):
        key += "    faint thin: a seed each"
        key += "    shaded: 95 % t interval of the mean" if style.bands else ""
    return key + ("    pale: the paper's" if any(s.as_the_paper for s in studies) else "")


def wanted_depths(study: Study, arm: str) -> set[int]:
    """The depths that the figures would show of an arm."""
    shown = FIGURE4 if study.data == "imagenet" else FIGURE6
    # The paper has no depths for other data: each arm should have those of the other.
    arms = (arm,) if study.as_the_paper else ("plain", "residual")
    return {d for panel in shown.values() if panel.arm in arms for d in panel.depths_of(study)}


def _panel(
    axis: Axes,
    study: Study,
    panel: Panel,
    depths: Sequence[int],
    dashes: Mapping[str, object],
    style: Style,
) -> None:
    """Draw some quantities of some networks of one arm, set the limits, and name the curves."""
    palette = {depth: style.colour(depth) for depth in depths}
    lines: dict[str, Any] = {"ax": axis, "x": "x", "y": "error", "legend": False}
    lines |= {"hue": "depth", "palette": palette, "style": "quantity", "dashes": dashes}
    if study.as_the_paper:
        theirs = reference_curves(panel, depths, list(dashes))
        sns.lineplot(theirs, **lines, errorbar=None, **REFERENCE)
    rows = long(study, panel.arm, depths, list(dashes))
    if len(rows):
        _ours(rows, lines, style)
    x, y = limits(study, panel)
    axis.set(xlim=x, ylim=y, xlabel="iteration" if study.scale == 1 else "iter. (1e4)")
    handles = [_handle(study, panel.arm, depth, list(dashes)[-1], y[1], style) for depth in depths]
    axis.legend(handles=handles, loc="best")


def limits(study: Study, panel: Panel) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the iterations, in units of the study's scale, and of the errors."""
    if study.as_the_paper:
        return panel.x, panel.y
    return (0.0, study.iterations / study.scale), (0.0, 100.0)


def _ours(rows: pd.DataFrame, lines: dict[str, Any], style: Style) -> None:
    """The curves of the seeds, their means, and the ends of runs that are not finished."""
    several = rows.groupby("depth")["run"].transform("nunique") > 1
    if several.any():
        sns.lineplot(rows[several], **lines, units="run", estimator=None, **SEED)
    # An unfinished run would cut the mean to its own rows; alone it is drawn as it is.
    averaged = rows[~several | (rows["state"] == "done")]
    if len(averaged):
        widths = dict.fromkeys(lines["dashes"], style.widths["test_error"])
        if len(widths) > 1:
            widths = {quantity: style.widths[quantity] for quantity in widths}
        band: dict[str, Any] = {"errorbar": inference.t_interval if style.bands else None}
        band["err_kws"] = {"alpha": 0.15, "linewidth": 0}
        sns.lineplot(averaged, **lines, size="quantity", sizes=widths, **band)
    ends = rows[rows["state"] != "done"].groupby(["run", "quantity"]).tail(1)
    dots = {key: value for key, value in lines.items() if key != "dashes"} | {"style": "state"}
    if len(ends):
        sns.scatterplot(ends, **dots, markers=MARKERS, s=30, linewidth=0)


def long(study: Study, arm: str, depths: Sequence[int], quantities: list[str]) -> pd.DataFrame:
    """run, seed, state, depth, iteration, x (in the axis' unit), quantity, error: a line a row and
    quantity."""
    own = study.rows[(study.rows["arm"] == arm) & study.rows["depth"].isin(depths)]
    own = own.assign(x=own["iteration"] / study.scale).sort_values(["depth", "seed", "iteration"])
    keys = ["run", "seed", "state", "depth", "iteration", "x"]
    return own.melt(keys, quantities, "quantity", "error").astype({"error": float})


def reference_curves(panel: Panel, depths: Sequence[int], quantities: list[str]) -> pd.DataFrame:
    """The paper's own curves of a panel: depth, x in 1e4 iterations, quantity, error."""
    curves = frames.paper_curves().replace(VALIDATION, "test_error")
    networks = {f"{panel.arm}-{depth}": depth for depth in depths}
    own = curves[(curves["figure"] == panel.figure) & (curves["panel"] == panel.panel)]
    own = own[own["network"].isin(networks) & own["quantity"].isin(quantities)]
    own = own.assign(depth=own["network"].map(networks), x=own["x"] / 1e4)
    return own.rename(columns={"value": "error"})


def _handle(study: Study, arm: str, depth: int, quantity: str, top: float, style: Style) -> Line2D:
    """A network in the legend: `plain-20 (n=5)`, and what the panel can't show of it."""
    own = study.network(arm, depth)
    line: dict[str, Any] = {"color": style.colour(depth), "linewidth": 2}
    if own.empty:
        idle = study.idle[(study.idle["arm"] == arm) & (study.idle["depth"] == depth)]
        lost = "diverged" in {*idle["state"]}
        why = "diverged before its first row" if lost else "not trained"
        return Line2D([], [], **line, alpha=0.3, label=f"{arm}-{depth}, {why}")
    finished = own[own["state"] == "done"]["run"].nunique()
    why = "diverged" if "diverged" in {*own["state"]} else "unfinished"
    label = f"{arm}-{depth} (n={finished})" if finished else f"{arm}-{depth}, {why}"
    end = float(own.groupby("run")[quantity].last().mean())
    if end > top:
        label += f" ↑ {end:.1f} %" + ("" if set(own["state"]) == {"done"} else " so far")
    return Line2D([], [], **line, label=label)
