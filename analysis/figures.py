"""The paper's figures from our rows: a study in, a matplotlib figure out.

As in He et al. (2015): dashed is training, bold is test, a colour a depth. Thin lines are single
seeds, the strong line is their mean, faint ones are the paper's own curves, where the study has its
data and length. A curve that is not finished ends in a dot, one that diverged in a cross; one above
the frame is named at its edge with its value; what was not trained is named in its panel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import frames
import matplotlib
import pandas as pd
from frames import Study
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

matplotlib.rcParams.update({
    "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 8, "svg.hashsalt": "degradation",
})  # fmt: skip

# The paper's colours; a depth that it doesn't show takes one that it doesn't use.
PAPER_COLOURS = {20: "#8a8a00", 32: "#00a9b5", 44: "#0a8f2f", 56: "#d62728", 110: "#111111",
                 1202: "#d000d0"}  # fmt: skip
OTHER_COLOURS = ("#1f5fbf", "#e08a00", "#7a5230", "#6a4fb3", "#5a6b7b")
ARM_COLOURS = {"plain": "#d62728", "residual": "#1f5fbf"}
LABELS = {"train_error": "training error (%)", "test_error": "test error (%)"}
Look = dict[str, Any]  # keywords of a line
TRAIN: Look = {"linestyle": (0, (4, 2)), "linewidth": 1.1}
TEST: Look = {"linestyle": "-", "linewidth": 2.0}


@dataclass(frozen=True)
class Panel:
    """Which networks a panel shows: those of the paper on its data, else those there are."""

    arm: str
    paper: tuple[int, ...]
    deepest: int | None = None
    """Elsewhere, only so many of the deepest."""

    def depths(self, study: Study) -> list[int]:
        if study.data == "cifar10":
            return list(self.paper)
        there = study.depths(self.arm)
        return there[-self.deepest :] if self.deepest else there


FIGURE1 = Panel("plain", (20, 56))
FIGURE6 = {
    "plain": Panel("plain", (20, 32, 44, 56, 110)),
    "residual": Panel("residual", (20, 32, 44, 56, 110)),
    "residual, the deepest two": Panel("residual", (110, 1202), deepest=2),
}


def figure1(study: Study) -> Figure:
    """Figure 1: training error | test error of the shallowest and the deepest plain net."""
    depths = FIGURE1.depths(study)
    shown = sorted({depths[0], depths[-1]}) if depths else []
    figure, axes = _panels(study, 2)
    for axis, quantity in zip(axes, ("train_error", "test_error"), strict=True):
        _networks(axis, study, "plain", shown, {quantity: TEST})
        axis.set_ylabel(LABELS[quantity])
    return figure


def figure6(study: Study) -> Figure:
    """Figure 6: plain | residual | the two deepest residual nets, where overfitting shows."""
    figure, axes = _panels(study, 3)
    for axis, (title, panel) in zip(axes, FIGURE6.items(), strict=True):
        both = {"train_error": TRAIN, "test_error": TEST}
        _networks(axis, study, panel.arm, panel.depths(study), both, panel.deepest is not None)
        axis.set_title(title)
        axis.set_ylabel("error (%)")
    if study.as_the_paper:
        axes[2].set_xlim(3.5, 6.4)  # the paper's
    figure.supxlabel("dashed: training error    bold: test error", fontsize=8, x=0.99, ha="right")
    return figure


def error_against_depth(study: Study) -> Figure:
    """Final training error | test error against depth: a dot a seed, a line through the means."""
    figure, axes = _panels(study, 2)
    finals = frames.last(study.rows)
    theirs = frames.paper_errors()
    for axis, quantity in zip(axes, ("train_error", "test_error"), strict=True):
        for arm, colour in ARM_COLOURS.items():
            own = finals[finals["arm"] == arm]
            mean = own.groupby("depth")[quantity].mean()
            axis.plot(mean.index, mean, color=colour, linewidth=1.6, label=arm)
            axis.plot(own["depth"], own[quantity], "o", color=colour, markersize=4, alpha=0.6)
            if study.as_the_paper:
                paper = theirs[(theirs["arm"] == arm) & (theirs["quantity"] == quantity)]
                axis.plot(paper["depth"], paper["value"], "D", color=colour, fillstyle="none",
                          markersize=5, label=f"{arm}, the paper")  # fmt: skip
        axis.set_xscale("log")
        depths = sorted({*study.depths("plain"), *study.depths("residual")})
        axis.set_xticks(depths, [str(depth) for depth in depths])
        axis.minorticks_off()
        axis.set_xlabel("depth (layers)")
        axis.set_ylabel(LABELS[quantity])
        axis.set_ylim(bottom=0)
    axes[0].legend()
    return figure


def missing(study: Study) -> dict[str, list[int]]:
    """The depths that the figures would show and that have no row, by arm."""
    panels = [FIGURE1, *FIGURE6.values()]
    wanted = {
        arm: {d for panel in panels if panel.arm == arm for d in panel.depths(study)}
        for arm in ("plain", "residual")
    }
    if study.data != "cifar10":  # half a pair is half an answer
        wanted = dict.fromkeys(wanted, wanted["plain"] | wanted["residual"])
    absent = {arm: sorted(depths - set(study.depths(arm))) for arm, depths in wanted.items()}
    return {arm: depths for arm, depths in absent.items() if depths}


def _panels(study: Study, count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(3.6 * count, 3.1), dpi=150, layout="constrained")
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def _networks(
    axis: Axes,
    study: Study,
    arm: str,
    depths: Sequence[int],
    quantities: dict[str, Look],
    deepest: bool = False,
) -> None:
    """Draw the curves of some networks of one arm, and frame them."""
    panel = {"plain": "left", "residual": "right" if deepest else "middle"}[arm]
    for depth in depths:
        for quantity, look in quantities.items():
            if study.as_the_paper:
                _ghost(axis, panel, f"{arm}-{depth}", quantity, look, _colour(depth))
            _curves(axis, study, arm, depth, quantity, look)
    _frame(axis, study)
    _name_those_above(axis, study, arm, depths, list(quantities)[-1])
    there = set(study.depths(arm))
    handles = [Line2D([], [], color=_colour(d), linewidth=2, label=f"{arm}-{d}")
               for d in depths if d in there]  # fmt: skip
    axis.legend(handles=handles, loc="best")
    if absent := [f"{arm}-{depth}" for depth in depths if depth not in there]:
        axis.text(0.02, 0.02, f"not trained: {', '.join(absent)}", transform=axis.transAxes,
                  fontsize=7, color="0.45")  # fmt: skip


def _curves(axis: Axes, study: Study, arm: str, depth: int, quantity: str, look: Look) -> None:
    """Every seed's curve of one network, thin, and their mean; one seed alone is drawn strong."""
    own = study.network(arm, depth)
    seeds = own["seed"].nunique()
    colour, scale = _colour(depth), _scale(study)
    for _, run in own.groupby("run"):
        thin = {**look, "linewidth": 0.6, "alpha": 0.45} if seeds > 1 else look
        axis.plot(run["iteration"] / scale, run[quantity], color=colour, **thin)
        if (state := run["state"].iloc[0]) != "done":
            end = run.iloc[-1]
            marker = "x" if state == "diverged" else "o"
            axis.plot(end["iteration"] / scale, end[quantity], marker, color=colour, markersize=5)
    if seeds > 1:
        mean = own.groupby("iteration")[quantity].agg(["mean", "count"])
        mean = mean[mean["count"] == seeds]
        axis.plot(mean.index / scale, mean["mean"], color=colour, **look)


def _ghost(axis: Axes, panel: str, network: str, quantity: str, look: Look, colour: str) -> None:
    """The paper's own curve, faint."""
    curves = frames.paper_curves()
    own = curves[(curves["figure"] == "fig6") & (curves["panel"] == panel)
                 & (curves["network"] == network) & (curves["quantity"] == quantity)]  # fmt: skip
    axis.plot(own["x"] / 1e4, own["value"], color=colour,
              **{**look, "linewidth": 0.9, "alpha": 0.3})  # fmt: skip


def _frame(axis: Axes, study: Study) -> None:
    """The paper's limits on its data; elsewhere those that suit the rows."""
    if study.as_the_paper:
        axis.set_xlim(0, 6.4)
        axis.set_ylim(0, 20)
        axis.set_xlabel("iter. (1e4)")
    else:
        axis.set_xlim(0, study.iterations / _scale(study))
        axis.set_ylim(0, 100)
        axis.set_xlabel("iteration" if _scale(study) == 1 else "iter. (1e4)")


def _name_those_above(
    axis: Axes, study: Study, arm: str, depths: Sequence[int], quantity: str
) -> None:
    """Name the networks whose last value lies above the frame, at its upper edge."""
    top = axis.get_ylim()[1]
    ends = [(depth, _end(study.network(arm, depth), quantity)) for depth in depths]
    above = [(depth, end) for depth, end in ends if end is not None and end > top]
    for line, (depth, end) in enumerate(above):
        axis.text(0.02, 0.97 - 0.07 * line, f"↑ {arm}-{depth}: {end:.1f} %",
                  transform=axis.transAxes, fontsize=8, va="top", color=_colour(depth))  # fmt: skip


def _end(rows: pd.DataFrame, quantity: str) -> float | None:
    return None if rows.empty else float(rows.groupby("run")[quantity].last().mean())


def _scale(study: Study) -> float:
    return 1e4 if study.iterations >= 10_000 else 1.0


def _colour(depth: int) -> str:
    return PAPER_COLOURS.get(depth) or OTHER_COLOURS[depth // 6 % len(OTHER_COLOURS)]
