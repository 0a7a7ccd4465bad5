"""Figures against depth: errors, the gap between the arms, overfitting, speed of learning, cost.

A dot is a seed; lines join the means; bars are 95 % t intervals, from three seeds on.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames import pairs
from analysis.frames import runs as frames
from analysis.frames.runs import ERRORS, Study
from analysis.plots.curves import LABELS
from analysis.plots.style import Style, footnote, remove_legend, subplots, zero_line
from analysis.stats import inference

REACHED = (80, 50, 20, 10)  # percent of training error
MARKERS = {"plain": "o", "residual": "s", "gap": "D"}
# Factors of depth: the arms stand a little beside each other, so that neither hides the other.
ASIDE = {"plain": 0.98, "residual": 1.02, "gap": 1.0}
BARS = {"capsize": 3, "elinewidth": 1}
KEY = "a dot a seed; lines: means; bars: their 95 % t intervals, from three seeds on"


def errors(study: Study, style: Style) -> Figure:
    """Final training error | test error, with the paper's where it trained as long."""
    finals, theirs = frames.last(study.rows), frames.paper_errors()
    with subplots(style, 2) as (figure, axes):
        for axis, quantity in zip(axes[0], ERRORS, strict=True):
            against_depth(axis, finals, quantity, style)
            if study.as_the_paper:
                own = theirs[(theirs["data"] == study.data) & (theirs["quantity"] == quantity)]
                _papers(axis, own, style)
            depth_axis(axis, finals["depth"])
            axis.set_ylabel(LABELS[quantity])
            axis.set_ylim(bottom=0)
        axes[0][0].legend()
        footnote(figure, KEY)
    return figure


def _papers(axis: Axes, errors: pd.DataFrame, style: Style) -> None:
    """The paper's final errors, as open diamonds."""
    for arm, own in errors.groupby("arm"):
        axis.plot(
            own["depth"],
            own["value"],
            "D",
            color=style.arms[str(arm)],
            fillstyle="none",
            markersize=5,
            label=f"{arm}, the paper",
        )


def gaps(study: Study) -> pd.DataFrame:
    """A line a matched pair: depth, seed, and plain − residual of both errors, in points."""
    matched = pairs.by_arm(pairs.finals(study.rows, study.idle))
    used = matched[(matched["reason"] == "") & (matched["moment"] == pairs.END)]
    found = {
        "depth": used["depth_second"].astype(int),
        "seed": used["seed"],
        "train_error": -used["train"].astype(float),
        "test_error": -used["test"].astype(float),
    }
    return pd.DataFrame(found)


def gap(study: Study, style: Style) -> Figure:
    """Plain − residual against depth, paired by seed: what shortcuts are worth, in points."""
    own = gaps(study).assign(arm="gap")
    with subplots(style, 2) as (figure, axes):
        for axis, quantity in zip(axes[0], ERRORS, strict=True):
            against_depth(axis, own, quantity, style)
            zero_line(axis)
            depth_axis(axis, own["depth"])
            axis.set_ylabel(f"plain − residual,\n{LABELS[quantity].replace('(%)', '(points)')}")
        footnote(figure, KEY.replace("a seed", "a pair of runs"))
    return figure


def generalisation(study: Study, style: Style) -> Figure:
    """Test − training error against depth: the overfitting plot."""
    finals = frames.last(study.rows)
    finals = finals.assign(difference=finals["test_error"] - finals["train_error"])
    with subplots(style, 1, size=(1.5 * style.panel[0], style.panel[1])) as (figure, axes):
        axis = axes[0][0]
        against_depth(axis, finals, "difference", style)
        zero_line(axis)
        depth_axis(axis, finals["depth"])
        axis.set_ylabel("test − training error (points)")
        axis.legend()
        footnote(figure, KEY)
    return figure


def speed(study: Study, style: Style) -> Figure:
    """The first row below given training errors, against depth; at the top: never, of n seeds."""
    with subplots(style, len(REACHED)) as (figure, axes):
        for axis, error in zip(axes[0], REACHED, strict=True):
            first = frames.first_below(study.rows, error)
            against_depth(axis, first, "iteration", style)
            _never(axis, first, study, style)
            depth_axis(axis, first["depth"])
            axis.set_ylim(0, study.iterations * 1.12)
            axis.set_title(f"training error below {error} %")
        axes[0][0].set_ylabel("iterations")
        axes[0][0].legend(loc="best")
        footnote(figure, KEY)
    return figure


def cost(study: Study, style: Style) -> Figure:
    """Milliseconds an iteration | time a run, as these runs measured them, against depth."""
    timing = frames.timing(study)
    unit, seconds = _unit(timing["seconds"].max())
    timing[unit] = timing["seconds"] / seconds
    labels = {"milliseconds": "milliseconds an iteration", unit: f"{unit} a run"}
    with subplots(style, 2) as (figure, axes):
        for axis, (quantity, label) in zip(axes[0], labels.items(), strict=True):
            against_depth(axis, timing, quantity, style)
            depth_axis(axis, timing["depth"])
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
        axes[0][0].legend()
        devices = ", ".join(sorted(timing["device"].dropna().unique()))
        footnote(figure, f"on {devices}; {KEY}")
    return figure


def _unit(seconds: float) -> tuple[str, float]:
    """The largest unit of which there is at least one, and its seconds."""
    units = {"hours": 3600.0, "minutes": 60.0}
    return next(((u, s) for u, s in units.items() if seconds >= s), ("seconds", 1.0))


def against_depth(axis: Axes, rows: pd.DataFrame, quantity: str, style: Style) -> None:
    """A dot a seed; the mean of each depth, joined, with its t interval from three seeds on."""
    rows = rows.assign(x=rows["depth"] * rows["arm"].map(ASIDE).astype(float))
    drawing: dict[str, Any] = {
        "x": "x",
        "y": quantity,
        "hue": "arm",
        "hue_order": [arm for arm in ASIDE if arm in {*rows["arm"]}],
        "palette": {**style.arms, "gap": "0.2"},
        "ax": axis,
    }
    dots = {"style": "arm", "markers": MARKERS, "s": 12, "alpha": 0.5, "linewidth": 0}
    sns.scatterplot(rows, **drawing, **dots, legend=False)
    bars = {"errorbar": inference.t_interval, "err_style": "bars", "err_kws": BARS}
    sns.lineplot(rows, **drawing, **bars, linewidth=1.6)
    remove_legend(axis)


def _never(axis: Axes, first: pd.DataFrame, study: Study, style: Style) -> None:
    """How many seeds of each network did not get there, above the last iteration."""
    heights = {"plain": 1.03 * study.iterations, "residual": 1.08 * study.iterations}
    groups: Any = first.groupby(["arm", "depth"])
    for (arm, depth), runs in groups:
        if never := int(runs["iteration"].isna().sum()):
            axis.text(
                depth,
                heights[arm],
                f"never: {never} of {len(runs)}",
                color=style.arms[arm],
                ha="center",
                va="center",
                fontsize="x-small",
            )


def depth_axis(axis: Axes, depths: Iterable[int]) -> None:
    shown = sorted({int(depth) for depth in depths})
    axis.set_xscale("log")
    axis.set_xticks(shown, [str(depth) for depth in shown])
    axis.minorticks_off()
    # A depth may have no point but a remark, which must lie within the limits, too.
    if shown:
        beside = max(shown[-1] / shown[0], 1.5) ** 0.15
        axis.set_xlim(shown[0] / beside, shown[-1] * beside)
    axis.set_xlabel("depth (layers)")
