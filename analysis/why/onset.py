"""The depth at which degradation begins, by arm and training length.

Any study with three depths or more is read. The rule, of final training errors paired by seed, each
depth beside the shallowest:

    degrades    deep − shallow: the interval lies above the margin, 0.5 points
    not         it lies below it
    begins      between the deepest depth that is `not`, with none above it that is, and the
                shallowest from which on every depth that was trained degrades

Answers of one arm and length are given together. Nothing is known of depths between those trained.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis.frames.runs import SHORTCUTS
from analysis.plots import depth
from analysis.plots.style import Style, footnote, subplots, zero_line
from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import Rule, Step
from analysis.why.finding import Finding, Line, in_points, paired_step

QUESTION = "At which depth does degradation begin?"
DEPTHS = 3  # the shallowest, and two to tell apart
WORDS = {verdict_rules.UP: "degrades", verdict_rules.NOT_UP: "not"}
KEYS = ["iterations", "protocol", "arm"]


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a data set of which some arm has three depths."""
    own = table[~table["side_study"] & table["shortcut"].isin(SHORTCUTS)]
    own = own[own["state"].isin(("done", "diverged"))]
    own = own[own.groupby(KEYS)["depth"].transform("nunique") >= DEPTHS]
    if len(own):
        rows, data = differences(own), str(table["data"].iloc[0])
        lines, draw = tuple(_lines(own, rule)), partial(figure, rows)
        yield Finding("onset", data, QUESTION, __doc__, lines, rows, draw)


def differences(own: pd.DataFrame) -> pd.DataFrame:
    """A line a run: its final training error beside the shallowest net's of its seed, in points."""
    shallowest = own["depth"] == own.groupby(KEYS)["depth"].transform("min")
    keys = [*KEYS, "seed"]
    base = own[shallowest].drop_duplicates(keys).set_index(keys)[["depth", "train_error"]]
    rows = own[~shallowest].join(base.add_suffix("_shallow"), on=keys)
    rows = rows.assign(difference=rows["train_error"] - rows["train_error_shallow"])
    columns = [*keys, "run", "depth_shallow", "depth", "difference"]
    return rows[columns].sort_values([*KEYS, "depth", "seed"], ignore_index=True)


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    alike = own.groupby("iterations")["protocol"].transform("nunique")
    for (iterations, protocol, arm), runs in own.groupby(KEYS):
        name = f"{arm}, {iterations} iterations"
        name += f" ({protocol})" if alike[runs.index[0]] > 1 else ""
        shallow, *deeper = (net for _, net in runs.groupby("depth"))
        steps = [paired_step(shallow, net, rule, str(arm)) for net in deeper]
        judged = verdict_rules.judge_steps(steps, rule)
        yield between(name, judged)
        for j in judged:
            word = WORDS.get(j.train_is, verdict_rules.UNDECIDED)
            yield Line(word, f"{name}, {j.shallow}→{j.deep}: {in_points(j)}")


def between(name: str, steps: list[Step]) -> Line:
    """Between which of the depths that were trained degradation begins."""
    deepest = steps[-1]
    after = max((i for i, j in enumerate(steps, 1) if j.train_is != verdict_rules.UP), default=0)
    if after == len(steps):
        known = deepest.train_is == verdict_rules.NOT_UP
        text = f"{name}: degradation is not known to begin up to {deepest.deep} layers"
        return Line("none" if known else verdict_rules.UNDECIDED, text)
    not_yet = [j.deep for j in steps if j.train_is == verdict_rules.NOT_UP]
    low, high = max(not_yet, default=steps[0].shallow), steps[after].deep
    return Line("begins", f"{name}: degradation begins between {low} and {high} layers")


def figure(rows: pd.DataFrame, style: Style) -> Figure:
    """Deep − shallow training error against depth, a panel a length."""
    lengths = rows.groupby("iterations")
    with subplots(style, len(lengths)) as (drawn, axes):
        for axis, (length, own) in zip(axes[0], lengths, strict=True):
            for _, of_protocol in own.groupby("protocol"):
                depth.against_depth(axis, of_protocol, "difference", style)
            axis.axhline(Rule.margin, color="0.4", linewidth=0.8, linestyle=":")
            zero_line(axis)
            depth.depth_axis(axis, own["depth"])
            axis.set_title(f"{length} iterations")
            axis.set_ylabel("")
        shallow = rows["depth_shallow"].min()
        axes[0][0].set_ylabel(f"training error beside {shallow} layers (points)")
        axes[0][0].legend(loc="best")
        footnote(drawn, f"dotted: the margin; {depth.KEY}")
    return drawn
