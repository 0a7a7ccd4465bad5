"""Figures against depth: errors, the gap between the arms, overfitting, speed of learning, cost."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames import pairs
from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.plots.curves import BAND_SEEDS, LABELS, panels
from analysis.plots.style import Line, Look
from analysis.stats import inference

REACHED = (80, 50, 20, 10)  # percent of training error
MARKERS = {"plain": "o", "residual": "s", "gap": "D"}
ASIDE = {"plain": 0.98, "residual": 1.02}  # factors of depth


def errors(study: Study, look: Look) -> Figure:
    """Final training error | test error: a dot a seed, a line through the means, t intervals."""
    finals, theirs = frames.last(study.rows), frames.paper_errors()
    with panels(look, 2) as (figure, axes):
        for axis, quantity in zip(axes, LABELS, strict=True):
            for arm in look.arms:
                _seeds_and_mean(axis, finals[finals["arm"] == arm], quantity, arm, look)
                if study.as_the_paper:
                    paper = theirs[(theirs["arm"] == arm) & (theirs["quantity"] == quantity)]
                    mark: Line = {
                        "marker": "D",
                        "fillstyle": "none",
                        "markersize": 5,
                        "linestyle": "",
                    }
                    axis.plot(paper["depth"], paper["value"], color=look.arms[arm],
                              label=f"{arm}, the paper", **mark)  # fmt: skip
            _depth_axis(axis, finals["depth"])
            axis.set_ylabel(LABELS[quantity])
            axis.set_ylim(bottom=0)
        axes[0].legend()
    return figure


def gaps(study: Study) -> pd.DataFrame:
    """A line a matched pair: depth, seed, and plain − residual of both errors, in points."""
    matched = pairs.by_arm(pairs.finals(study.rows, study.idle))
    used = matched[(matched["reason"] == "") & (matched["moment"] == pairs.END)]
    return pd.DataFrame(
        {"depth": used["depth_second"].astype(int), "seed": used["seed"],
         "train_error": -used["train"], "test_error": -used["test"]}
    )  # fmt: skip


def gap(study: Study, look: Look) -> Figure:
    """Plain − residual against depth, paired by seed: what shortcuts are worth, in points."""
    own = gaps(study)
    with panels(look, 2) as (figure, axes):
        for axis, quantity in zip(axes, LABELS, strict=True):
            _seeds_and_mean(axis, own, quantity, "gap", look)
            axis.axhline(0, color="0.4", linewidth=0.8)
            _depth_axis(axis, own["depth"])
            axis.set_ylabel(f"plain − residual,\n{LABELS[quantity].replace('(%)', '(points)')}")
    return figure


def generalisation(study: Study, look: Look) -> Figure:
    """Test − training error against depth: the overfitting plot."""
    finals = frames.last(study.rows)
    finals = finals.assign(difference=finals["test_error"] - finals["train_error"])
    with panels(look, 1) as (figure, (axis,)):
        for arm in look.arms:
            _seeds_and_mean(axis, finals[finals["arm"] == arm], "difference", arm, look)
        axis.axhline(0, color="0.4", linewidth=0.8)
        _depth_axis(axis, finals["depth"])
        axis.set_ylabel("test − training error (points)")
        axis.legend()
    return figure


def speed(study: Study, look: Look) -> Figure:
    """The first row below given training errors, against depth; at the top: never, of n seeds."""
    with panels(look, len(REACHED)) as (figure, axes):
        for axis, error in zip(axes, REACHED, strict=True):
            first = frames.first_below(study.rows, error)
            for arm in look.arms:
                own = first[first["arm"] == arm]
                _seeds_and_mean(axis, own.dropna(subset="iteration"), "iteration", arm, look)
                _never(axis, own, study, look.arms[arm], arm)
            _depth_axis(axis, first["depth"])
            axis.set_ylim(0, study.iterations * 1.12)
            axis.set_title(f"training error below {error} %")
        axes[0].set_ylabel("iterations")
        axes[0].legend(loc="best")
    return figure


def cost(study: Study, look: Look) -> Figure:
    """Milliseconds an iteration | time a point, as these runs measured them, against depth."""
    timing = frames.timing(study)
    unit, seconds = _unit(timing["seconds"].max())
    timing[unit] = timing["seconds"] / seconds
    with panels(look, 2) as (figure, axes):
        for axis, quantity, title in zip(
            axes, ("milliseconds", unit), ("an iteration", "a point"), strict=True
        ):
            for arm in look.arms:
                _seeds_and_mean(axis, timing[timing["arm"] == arm], quantity, arm, look)
            _depth_axis(axis, timing["depth"])
            axis.set_ylabel(f"{quantity} {title}")
            axis.set_ylim(bottom=0)
        axes[0].legend()
        devices = ", ".join(sorted(timing["device"].dropna().unique()))
        figure.supxlabel(f"on {devices}", fontsize="small", x=0.99, ha="right")
    return figure


def _unit(seconds: float) -> tuple[str, float]:
    """The largest unit of which there is at least one, and its seconds."""
    units = {"hours": 3600.0, "minutes": 60.0}
    return next(((u, s) for u, s in units.items() if seconds >= s), ("seconds", 1.0))


def _seeds_and_mean(axis: Axes, own: pd.DataFrame, quantity: str, arm: str, look: Look) -> None:
    """A dot a seed; the mean of each depth, joined, with its t interval from three seeds on.

    The arms stand a little aside of their depth, so that neither hides the other.
    """
    colour, aside = look.arms.get(arm, "0.2"), ASIDE.get(arm, 1.0)
    axis.plot(own["depth"] * aside, own[quantity], MARKERS[arm], color=colour, markersize=3.5,
              alpha=0.5, markeredgewidth=0)  # fmt: skip
    stats = own.groupby("depth")[quantity].agg(["mean", "std", "count"])
    half = [inference.half_width(float(s), int(n)) if n >= BAND_SEEDS else math.nan
            for s, n in zip(stats["std"], stats["count"], strict=True)]  # fmt: skip
    axis.errorbar(stats.index * aside, stats["mean"], yerr=half, color=colour, linewidth=1.6,
                  capsize=3, elinewidth=1, label=arm)  # fmt: skip


def _never(axis: Axes, own: pd.DataFrame, study: Study, colour: str, arm: str) -> None:
    """How many seeds of each depth did not get there, above the last iteration."""
    height = study.iterations * (1.03 if arm == "plain" else 1.08)
    for depth, runs in own.groupby("depth"):
        if never := int(runs["iteration"].isna().sum()):
            axis.text(float(str(depth)), height, f"never: {never} of {len(runs)}", color=colour,
                      ha="center", va="center", fontsize="x-small")  # fmt: skip


def _depth_axis(axis: Axes, depths: Iterable[int]) -> None:
    shown: Sequence[int] = sorted({int(depth) for depth in depths})
    axis.set_xscale("log")
    axis.set_xticks(shown, [str(depth) for depth in shown])
    axis.minorticks_off()
    # By what is named there, not by what is drawn: of a depth there may be a remark alone.
    if shown:
        beside = max(shown[-1] / shown[0], 1.5) ** 0.15
        axis.set_xlim(shown[0] / beside, shown[-1] * beside)
    axis.set_xlabel("depth (layers)")
