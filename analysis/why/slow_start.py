"""Failure is data: nets that are stuck, that start slowly, that diverge.

Footnote 5 of the paper: with 0.1 from the start residual-110 "starts converging (<90% error) after
several epochs"; its warm-up ends below 80 %. The rule, of one run's rows of training error:

    diverged      its loss was no finite number
    stuck         finished, and no row below 80 %
    slow start    the first row below 80 % comes after a quarter of its iterations, and a row above
    in time       all others

Rows are `eval_every` iterations apart, and so is what is known of the moment.
"""

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames.runs import BELOW
from analysis.plots.style import Style, footnote, subplots
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding, Line

SLOW = 0.25  # of a run's iterations
STARTED = 80  # percent of training error
QUESTION = "Which nets are stuck, start slowly, or diverge?"
STUCK, SLOW_START, DIVERGED, IN_TIME = "stuck", "slow start", "diverged", "in time"
FAILURES = (STUCK, SLOW_START, DIVERGED)
NEVER, LOST = 1.15, 1.4  # places behind the last iteration


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a data set in which some run failed so."""
    own = rows(table)
    if own["word"].isin(FAILURES).any():
        name, lines = str(table["data"].iloc[0]), tuple(_lines(own))
        yield Finding("slow_start", name, QUESTION, __doc__, lines, own, partial(figure, own))


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a run that has ended: network, its word, and the first rows below 90, 80, 20 %."""
    own = table[~table["layers_only"] & table["state"].isin(("done", "diverged"))].copy()
    varied = " · " + own["variant"]
    own["network"] = (
        own["arm"] + "-" + own["depth"].astype(str) + varied.where(own["variant"] != "", "")
    )
    # Two recipes of one network and length are never taken together.
    several = own.groupby(["network", "iterations"])["protocol"].transform("nunique") > 1
    own["network"] += (" · " + own["protocol"]).where(several, "")
    own["word"] = [_word(run) for run in own.to_dict("records")]
    below = [f"below_{error}" for error in BELOW]
    columns = ["network", "arm", "depth", "iterations", "seed", "run", "word", *below, "state"]
    order = ["iterations", "arm", "depth", "network", "seed"]
    return own[columns].sort_values(order, ignore_index=True)


def _word(run: dict[Hashable, Any]) -> str:
    if run["state"] == "diverged":
        return DIVERGED
    first = run[f"below_{STARTED}"]
    if pd.isna(first):
        return STUCK
    late = first > SLOW * run["iterations"] and run["first_train"] >= STARTED
    return SLOW_START if late else IN_TIME


def _lines(own: pd.DataFrame) -> Iterator[Line]:
    sound = []
    for (iterations, network), runs in own.groupby(["iterations", "network"], sort=False):
        counts = {word: int((runs["word"] == word).sum()) for word in FAILURES}
        if any(counts.values()):
            found = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
            text = f"{network}, {iterations} iterations: {found}, of {len(runs)}"
            yield Line(max(counts, key=lambda word: counts[word]), text)
        else:
            sound.append(f"{network} ({len(runs)})")
    if sound:
        yield Line(IN_TIME, f"all runs of {', '.join(sound)}")


def figure(own: pd.DataFrame, style: Style) -> Figure:
    """The first row below 90 | 80 | 20 %, a line a network, as a fraction of its iterations."""
    key = ["network", "iterations"]
    n = own.groupby(key)["run"].transform("size").astype(str)
    length = own["iterations"].astype(str)
    own = own.assign(network=own["network"] + ", " + length + " iterations (n=" + n + ")")
    size = (0.75 * style.panel[0] + 0.7, 0.9 + 0.21 * own["network"].nunique())
    with subplots(style, len(BELOW), size=size, sharey=True) as (drawn, axes):
        for axis, error in zip(axes[0], BELOW, strict=True):
            _panel(axis, own, f"below_{error}", style)
            axis.set(title=f"below {error} %", xlabel="", ylabel="")
        axes[0][0].tick_params(axis="y", labelsize="x-small")
        footnote(drawn, "first row with so little training error, as a fraction of the iterations")
    return drawn


def _panel(axis: Axes, own: pd.DataFrame, below: str, style: Style) -> None:
    """A dot a run; behind the last iteration the runs that never got so low or that diverged."""
    absent = own["state"].map({"done": NEVER, "diverged": LOST})
    fraction = (own[below] / own["iterations"]).fillna(absent)
    own, arms = own.assign(fraction=fraction), {"hue": "arm", "palette": dict(style.arms)}
    dots = {"legend": False, "jitter": False, "size": 4, "alpha": 0.5}
    sns.stripplot(own, x="fraction", y="network", ax=axis, **arms, **dots)
    axis.axvline(1, color="0.4", linewidth=0.8)
    axis.axvline(SLOW, color="0.6", linewidth=0.7, linestyle=":")
    axis.set_xlim(0, LOST + 0.1)
    axis.set_xticks([0, SLOW, 0.5, 1, NEVER, LOST], ["0", "¼", "½", "1", "never", "diverged"])
    axis.tick_params(axis="x", labelsize="x-small")
