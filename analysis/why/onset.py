"""The depth at which degradation begins, by arm and training length.

`python -m degradation.onset` trains the depths that it takes; any study of three depths and more is
read so. The rule, of final training errors paired by seed, each depth beside the shallowest:

    degrades    deep − shallow: the interval lies above the margin, 0.5 points
    not         it lies below it
    begins      between the deepest depth that is `not`, with none above it that is, and the
                shallowest from which on every depth that was asked degrades

Answers of one arm and length are given together. Depths between those tried are not known.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis.plots import curves
from analysis.plots.curves import BAND_SEEDS
from analysis.plots.layer_responses import LINES
from analysis.plots.style import Look
from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import Rule, StepVerdict
from analysis.why.finding import (
    Finding,
    Line,
    shown,
    step,
    why_open,
)

QUESTION = "At which depth does degradation begin?"
RULE = """\
final training error, each depth − the shallowest, paired by seed: degrades where the interval lies
above +0.5 points, not where below."""
DEPTHS = 3  # the shallowest, and two to tell apart
WORDS = {verdict_rules.UP: "degrades", verdict_rules.NOT_UP: "not"}
KEYS = ["iterations", "protocol", "arm"]


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a data set of which some arm has three depths."""
    own = table[~table["variant"] & table["shortcut"].isin(("none", "identity"))]
    ended = own[own["state"].isin(("done", "diverged"))]
    if ended.empty:
        return
    enough = ended.groupby(KEYS)["depth"].transform("nunique") >= DEPTHS
    if not enough.any():
        return
    judged = judge(ended[enough], rule)
    rows = pd.DataFrame([_row(key, j) for key, steps in judged.items() for j in steps])
    yield Finding("onset", str(table["data"].iloc[0]), QUESTION, RULE, tuple(_lines(judged)), rows,
                  partial(figure, rows))  # fmt: skip


Key = tuple[int, str, str]


def judge(ended: pd.DataFrame, rule: Rule) -> dict[Key, list[StepVerdict]]:
    """By iterations, protocol and arm: each depth beside the shallowest."""
    found: dict[Key, list[StepVerdict]] = {}
    for (iterations, protocol, arm), own in ended.groupby(KEYS):
        depths = sorted({int(depth) for depth in own["depth"]})
        nets = {depth: own[own["depth"] == depth] for depth in depths}
        steps = [step(nets[depths[0]], nets[d], depths[0], d, str(arm)) for d in depths[1:]]
        found[int(str(iterations)), str(protocol), str(arm)] = verdict_rules.together(steps, rule)
    return found


def _lines(judged: dict[Key, list[StepVerdict]]) -> Iterator[Line]:
    several = {length: len({p for n, p, _ in judged if n == length}) > 1 for length, *_ in judged}
    for (iterations, protocol, arm), steps in judged.items():
        name = f"{arm}, {iterations} iterations" + (f" ({protocol})" if several[iterations] else "")
        yield Line(*between(name, steps))
        for j in steps:
            text = f"{name}, {j.shallow}→{j.deep}: {shown(j.train)} points{why_open(j)}"
            yield Line(WORDS.get(j.train_is, verdict_rules.UNDECIDED), text)


def between(name: str, steps: list[StepVerdict]) -> tuple[str, str]:
    """Between which of the depths that were tried degradation begins."""
    said = [(j.deep, j.train_is) for j in steps]
    beyond = [deep for deep, side in said if side == verdict_rules.NOT_UP]
    low = max(beyond, default=steps[0].shallow)
    high = None
    for deep, side in reversed(said):
        if side != verdict_rules.UP:
            break
        high = deep
    if high is None:
        word = "none" if said[-1][1] == verdict_rules.NOT_UP else verdict_rules.UNDECIDED
        return word, f"{name}: degradation is not known to begin up to {said[-1][0]} layers"
    return "begins", f"{name}: degradation begins between {low} and {high} layers"


def _row(key: Key, j: StepVerdict) -> dict[str, object]:
    return {"iterations": key[0], "protocol": key[1], "arm": key[2], "shallow": j.shallow,
            "depth": j.deep, "n": j.train.n, "mean": j.train.mean, "low": j.train.low,
            "high": j.train.high, "word": WORDS.get(j.train_is, verdict_rules.UNDECIDED)}  # fmt: skip


def figure(rows: pd.DataFrame, look: Look) -> Figure:
    """Deep − shallow training error against depth, an arm and a length a line."""
    lengths = sorted(rows["iterations"].unique())
    with curves.panels(look, len(lengths)) as (drawn, axes):
        for axis, length in zip(axes, lengths, strict=True):
            own = rows[rows["iterations"] == length]
            for (_, arm), line in own.groupby(["protocol", "arm"]):
                half = (line["high"] - line["low"]).where(line["n"] >= BAND_SEEDS) / 2
                colour = look.arms[str(arm)]
                axis.errorbar(line["depth"], line["mean"], yerr=half, color=colour, capsize=3,
                              marker="o", markersize=3.5, label=str(arm), linewidth=1.4,
                              elinewidth=1, **LINES[str(arm)])  # fmt: skip
            axis.axhline(Rule.margin, color="0.4", linewidth=0.8, linestyle=":")
            axis.axhline(0, color="0.4", linewidth=0.8)
            axis.set_title(f"{length} iterations")
            depths = sorted(own["depth"].unique())
            axis.set_xticks(depths, [str(depth) for depth in depths])
            axis.set_xlabel("depth (layers)")
        axes[0].set_ylabel(f"training error beside {rows['shallow'].min()} layers (points)")
        axes[0].legend(loc="best")
    return drawn
