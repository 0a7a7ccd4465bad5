"""Failure is data: nets that are stuck, that start late, that diverge.

Footnote 5 of the paper: with 0.1 from the start residual-110 "starts converging (<90% error) after
several epochs"; its warm-up ends below 80 %. The rule, of one run's rows of training error:

    diverged    its loss was no number
    stuck       finished, and no row below 80 %
    late        the first row below 80 % comes after a quarter of its iterations
    early       else

Rows are `eval_every` iterations apart, and so is what is known of the moment.
"""

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.frames.variants import BELOW
from analysis.plots import curves
from analysis.plots.style import Look
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding, Line

LATE = 0.25  # of a run's iterations
STARTED = 80  # percent of training error
QUESTION = "Which nets are stuck, start late, or diverge?"
RULE = """\
stuck: finished, no row below 80 % training error; late: the first one after a quarter of the
iterations; diverged: a loss that is no number."""
WORDS = ("stuck", "late", "diverged")


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a data set in which some run failed so."""
    own = rows(table)
    if own["word"].isin(WORDS).any():
        yield Finding("slow_start", str(table["data"].iloc[0]), QUESTION, RULE, tuple(_lines(own)), own,
                      partial(figure, own))  # fmt: skip


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a run that has ended: network, its word, and the first rows below 90, 80, 20 %."""
    own = table[~table["look"] & table["state"].isin(("done", "diverged"))].copy()
    own["network"] = [label(run) for run in own.to_dict("records")]
    own["word"] = [word(run) for run in own.to_dict("records")]
    columns = ["network", "arm", "depth", "iterations", "seed", "run", "word",
               *(f"below_{error}" for error in BELOW)]  # fmt: skip
    order = ["iterations", "arm", "depth", "network", "seed"]
    return own[[*columns, "state"]].sort_values(order, ignore_index=True)


def label(run: dict[Hashable, Any]) -> str:
    """`plain-56`, and what it varies: `plain-56 · lr_low`."""
    name = f"{run['arm']}-{run['depth']}"
    if pd.notna(run["grown_from"]):
        name += f" · grown from {run['grown_from']:.0f}, noise {run['grown_noise']:g}"
    if run["alpha"] != 1:
        name += f" · alpha {run['alpha']:g}"
    return f"{name} · {run['intervention']}" if run["intervention"] else name


def word(run: dict[Hashable, Any]) -> str:
    if run["state"] == "diverged":
        return "diverged"
    first = run[f"below_{STARTED}"]
    if pd.isna(first):
        return "stuck"
    return "late" if first > LATE * run["iterations"] else "early"


def _lines(own: pd.DataFrame) -> Iterator[Line]:
    fine = []
    for (iterations, network), runs in own.groupby(["iterations", "network"], sort=False):
        counts = {w: int((runs["word"] == w).sum()) for w in WORDS}
        said = [f"{count} {w}" for w, count in counts.items() if count]
        if said:
            worst = max(counts, key=lambda w: counts[w])
            yield Line(
                worst, f"{network}, {iterations} iterations: {', '.join(said)}, of {len(runs)}"
            )
        else:
            fine.append(f"{network} ({len(runs)})")
    if fine:
        yield Line("early", f"all runs of {', '.join(fine)}")


def figure(own: pd.DataFrame, look: Look) -> Figure:
    """The first row below 90 | 80 | 20 %, a line a network, as a share of its iterations."""
    groups = dict(iter(own.groupby(["iterations", "network"], sort=False)))
    with curves.panels(look, len(BELOW)) as (drawn, axes):
        drawn.set_figheight(0.9 + 0.21 * len(groups))
        drawn.set_figwidth(0.75 * drawn.get_figwidth() + 2)
        for axis, error in zip(axes, BELOW, strict=True):
            for place, of in enumerate(groups.values()):
                colour = look.arms[str(of["arm"].iloc[0])]
                share = of[f"below_{error}"] / of["iterations"]
                axis.plot(share, [place] * len(of), "o", color=colour, markersize=4, alpha=0.5)
                never = share.isna() & (of["state"] == "done")
                diverged = share.isna() & (of["state"] == "diverged")
                for lost, mark, x in ((never, ">", 1.06), (diverged, "x", 1.2)):
                    if count := int(lost.sum()):
                        axis.plot([x], [place], mark, color=colour, markersize=4)
                        axis.text(x + 0.03, place, str(count), fontsize="x-small", va="center")
            axis.axvline(1, color="0.4", linewidth=0.8)
            axis.axvline(LATE, color="0.6", linewidth=0.7, linestyle=":")
            axis.set_xlim(0, 1.32)
            axis.set_ylim(len(groups) - 0.5, -0.5)
            axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
            axis.set_title(f"below {error} %")
            axis.set_yticks(range(len(groups)), [])
        lengths = own["iterations"].nunique() > 1
        axes[0].set_yticklabels(
            [f"{name} ({iterations})" if lengths else str(name) for iterations, name in groups],
            fontsize="x-small",
        )
        note = ("first row with so little training error, as a share of the iterations; behind the "
                "line: ▸ never, × diverged, with their number")  # fmt: skip
        drawn.supxlabel(note, fontsize="small", x=0.99, ha="right")
    return drawn
