"""Figures against depth: errors, the gap between the arms, overfitting, speed of learning, cost.

A dot is a seed; lines join the means; bars are 95 % t intervals, from three seeds on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames import pairs
from analysis.frames import runs as frames
from analysis.frames.runs import Study
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
    theirs = frames.paper_errors()
    theirs = theirs[(theirs["data"] == study.data) & study.as_the_paper]
    return _figure(frames.last(study.rows), LABELS, style, KEY, theirs=theirs)


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
    points = {error: label.replace("(%)", "(points)") for error, label in LABELS.items()}
    labels = {error: f"plain − residual,\n{label}" for error, label in points.items()}
    key = KEY.replace("a seed", "a pair of runs")
    return _figure(gaps(study).assign(arm="gap"), labels, style, key, signed=True)


def generalisation(study: Study, style: Style) -> Figure:
    """Test − training error against depth: the overfitting plot."""
    finals = frames.last(study.rows)
    finals = finals.assign(difference=finals["test_error"] - finals["train_error"])
    labels = {"difference": "test − training error (points)"}
    return _figure(finals, labels, style, KEY, signed=True)


def _figure(
    rows: pd.DataFrame,
    labels: Mapping[str, str],
    style: Style,
    key: str,
    signed: bool = False,
    theirs: pd.DataFrame | None = None,
) -> Figure:
    """A panel a quantity, with its label; `signed`: a difference, `theirs`: the paper's errors."""
    size = (style.panel[0] * (1.5 if len(labels) == 1 else 1), style.panel[1])
    with subplots(style, len(labels), size=size) as (figure, axes):
        for axis, (quantity, label) in zip(axes[0], labels.items(), strict=True):
            against_depth(axis, rows, quantity, style)
            if theirs is not None:
                _papers(axis, theirs[theirs["quantity"] == quantity], style)
            depth_axis(axis, rows["depth"])
            axis.set_ylabel(label)
            if signed:
                zero_line(axis)
            else:
                axis.set_ylim(bottom=0)
        if "gap" not in set(rows["arm"]):
            axes[0][0].legend()
        footnote(figure, key)
    return figure


def _papers(axis: Axes, errors: pd.DataFrame, style: Style) -> None:
    """The paper's final errors, as open diamonds."""
    for arm, own in errors.groupby("arm"):
        look: dict[str, Any] = {"color": style.arms[str(arm)], "fillstyle": "none", "markersize": 5}
        axis.plot(own["depth"], own["value"], "D", **look, label=f"{arm}, the paper")


def speed(study: Study, style: Style) -> Figure:
    """The first row below given training errors, against depth; at the top: never, of n seeds."""
    with subplots(style, len(REACHED)) as (figure, axes):
        runs = study.rows.drop_duplicates("run")
        for axis, error in zip(axes[0], REACHED, strict=True):
            reached = runs["run"].map(frames.first_below(study.rows, error))
            first = runs.assign(iteration=reached)
            against_depth(axis, first, "iteration", style)
            _never(axis, first, study, style)
            depth_axis(axis, first["depth"])
            axis.set_ylim(0, study.iterations * 1.12)
            axis.set_title(f"training error below {error} %")
            axis.set_ylabel("iterations")
        axes[0][0].legend(loc="best")
        footnote(figure, KEY)
    return figure


def cost(study: Study, style: Style) -> Figure:
    """Milliseconds an iteration | time a run, as these runs measured them, against depth."""
    timing = frames.timing(study)
    unit, seconds = _unit(timing["seconds"].max())
    timing[unit] = timing["seconds"] / seconds
    labels = {"milliseconds": "milliseconds an iteration", unit: f"{unit} a run"}
    devices = ", ".join(sorted(timing["device"].dropna().unique()))
    return _figure(timing, labels, style, f"on {devices}; {KEY}")


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
            text = f"never: {never} of {len(runs)}"
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": "x-small"}
            axis.text(depth, heights[arm], text, color=style.arms[arm], **look)


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
