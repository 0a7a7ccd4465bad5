"""What cures a plain net? One change at a time, and how much of the gap between depths it closes.

The nets are the deepest and the shallowest plain ones that the interventions and their base share. The
rule, of final training errors paired by seed:

    gap         deep − shallow under the intervention
    change      the deep net's error under the intervention − without it
    cures       gap below the margin, 0.5 points, and change below −0.5 (intervals): both nets stuck
                alike would have no gap, too
    helps       change below −0.5, the gap not known to be closed
    no help     change above −0.5
    undecided   else; runs that diverged withhold the answer that their absence favours
    closed      1 − gap / gap without an intervention, of the means; told where the deep net got better

Answers about one question are given together, over the interventions. An intervention is tried at one value, so a
better one may be there; and a shallow net that an intervention makes worse closes some of the gap.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import curves
from analysis.plots.style import Look
from analysis.stats import inference, verdict_rules
from analysis.stats.inference import Effect
from analysis.stats.verdict_rules import Rule, StepVerdict
from analysis.why.finding import (
    Finding,
    Line,
    shown,
    step,
    study_names,
)

QUESTION = "What cures a plain net?"
RULE = """\
final training error, paired by seed. gap: deep − shallow; change: deep with the intervention − without.
cures: gap below +0.5 and change below −0.5 points; helps: change below −0.5 alone; no help: change
above."""
BASE, RESIDUAL = "none", "residual"
CURES, HELPS, NO_HELP = "cures", "helps", "no help"


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a base that some interventions vary."""
    trained = table[~table["look"]]
    bases = trained[trained["intervention_of"] != ""]["intervention_of"].value_counts().index
    found = [(str(base), rows(trained, str(base))) for base in bases]
    found = [(base, own) for base, own in found if own["intervention"].nunique() > 1]
    for (_, own), name in zip(found, study_names(table, [b for b, _ in found]).values(),
                              strict=True) if found else ():  # fmt: skip
        yield Finding("interventions", name, QUESTION, RULE, tuple(_lines(own, rule)), own,
                      partial(figure, own, rule))  # fmt: skip


def rows(table: pd.DataFrame, base: str) -> pd.DataFrame:
    """A line a run of the two depths: intervention (none: the base's plain nets; residual: its residual
    ones), depth, seed, state, errors. Empty where no two depths are shared."""
    cured = table[(table["intervention_of"] == base) & (table["arm"] == "plain")]
    own = table[(table["protocol"] == base) & table["shortcut"].isin(("none", "identity"))]
    own = own.assign(intervention=own["arm"].map({"plain": BASE, "residual": RESIDUAL}))
    shared = {*cured["depth"]} & {*own[own["intervention"] == BASE]["depth"]}
    columns = ["intervention", "depth", "seed", "run", "state", "train_error", "test_error"]
    if len(shared) < 2:
        return pd.DataFrame(columns=columns)
    both = pd.concat([own, cured])
    both = both[both["depth"].isin((min(shared), max(shared)))]
    return both[columns].sort_values(["intervention", "depth", "seed"], ignore_index=True)


def judged(own: pd.DataFrame, rule: Rule) -> dict[str, tuple[str, StepVerdict, Effect]]:
    """By intervention: its word, its gap, the change of the deep net's error."""
    shallow, deep = int(own["depth"].min()), int(own["depth"].max())
    nets = {str(name): (of[of["depth"] == shallow], of[of["depth"] == deep])
            for name, of in own.groupby("intervention")}  # fmt: skip
    tried = [name for name in nets if name not in (BASE, RESIDUAL)]
    names = [BASE, *tried, *([RESIDUAL] if RESIDUAL in nets else [])]
    gaps = verdict_rules.together([step(*nets[name], shallow, deep) for name in names], rule)
    before = nets[BASE][1]
    steps = [step(before, nets[name][1], deep, deep) for name in names]
    changes = [inference.effect(s.train, rule.level, rule.least_spread) for s in steps]
    asked = [change for name, change in zip(names, changes, strict=True) if name != BASE]
    sides = iter(verdict_rules.sides(asked, -rule.margin, rule))
    found = {}
    for name, gap, change, of in zip(names, gaps, changes, steps, strict=True):
        side = verdict_rules.UNKNOWN if name == BASE else next(sides)
        found[name] = ("" if name == BASE else _word(side, gap.train_is, of.diverged), gap, change)
    return found


def _word(side: str, gap_is: str, diverged: tuple[int, int]) -> str:
    if side == verdict_rules.BELOW and diverged[1]:
        return verdict_rules.UNDECIDED  # the runs that are left favour the intervention
    if side == verdict_rules.BELOW:
        return CURES if gap_is == verdict_rules.NOT_UP else HELPS
    return NO_HELP if side == verdict_rules.ABOVE else verdict_rules.UNDECIDED


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    found = judged(own, rule)
    whole = found[BASE][1].train.mean
    depths = f"{own['depth'].max()} − {own['depth'].min()}"
    for name, (word, gap, change) in found.items():
        closed = ""
        if word in (CURES, HELPS) and whole > 0:
            closed = f", closed {100 * (1 - gap.train.mean / whole):.0f} %"
        lost = [f"{count} of {depth} layers" for count, depth in
                zip(gap.diverged, (gap.shallow, gap.deep), strict=True) if count]  # fmt: skip
        diverged = f"; diverged: {', '.join(lost)}" if lost else ""
        text = f"{name}: gap {depths} layers {shown(gap.train, 1)} points{closed}"
        if name != BASE:
            text += f"; deep net {shown(change, 1)}"
        yield Line(word or "base", text + diverged)


def figure(own: pd.DataFrame, rule: Rule, look: Look) -> Figure:
    """The gap by intervention, mean and interval | the two nets' errors; the residual net's gap beside."""
    found = judged(own, rule)
    names = sorted(found, key=lambda n: (found[n][1].train.mean, n))
    finite = [n for n in names if found[n][1].train.n]
    names = finite + [n for n in names if n not in finite]
    with curves.panels(look, 2) as (drawn, (left, right)):
        drawn.set_figheight(0.9 + 0.24 * len(names))
        for place, name in enumerate(names):
            colour = _colour(name, look)
            _gap(left, place, found[name][1], own[own["intervention"] == name], colour)
            for depth, mark in ((own["depth"].min(), "none"), (own["depth"].max(), colour)):
                values = own[(own["intervention"] == name) & (own["depth"] == depth)]["train_error"]
                right.plot(values, [place] * len(values), "o", color=colour, markersize=4,
                           markerfacecolor=mark, alpha=0.7)  # fmt: skip
        for axis in (left, right):
            axis.set_yticks(range(len(names)), names if axis is left else [])
        base = found[BASE][1].train
        left.axvline(base.mean, color="0.4", linewidth=0.8, linestyle="--")
        left.axvline(0, color="0.4", linewidth=0.8)
        left.set_xlabel(f"gap {own['depth'].max()} − {own['depth'].min()} layers,\n"
                        "training error (points)")  # fmt: skip
        right.set_xlabel(f"training error (%)\n{own['depth'].min()} layers open, "
                         f"{own['depth'].max()} filled")  # fmt: skip
        right.set_xlim(0, 100)
    return drawn


def _gap(axis: Axes, place: int, gap: StepVerdict, own: pd.DataFrame, colour: str) -> None:
    pairs = own.pivot_table(index="seed", columns="depth", values="train_error")
    if pairs.shape[1] == 2:
        differences = pairs[gap.deep] - pairs[gap.shallow]
        axis.plot(differences, [place] * len(differences), "o", color=colour, markersize=3,
                  alpha=0.4, markeredgewidth=0)  # fmt: skip
    if gap.train.n:
        half = (gap.train.high - gap.train.low) / 2 if gap.train.n > 2 else float("nan")
        axis.errorbar([gap.train.mean], [place], xerr=half, fmt="D", color=colour, markersize=4,
                      capsize=3, elinewidth=1.2)  # fmt: skip
    note = f"n={gap.train.n}" + (f", diverged {sum(gap.diverged)}" if any(gap.diverged) else "")
    axis.text(1.01, place, note, transform=axis.get_yaxis_transform(), fontsize="x-small",
              va="center")  # fmt: skip


def _colour(name: str, look: Look) -> str:
    return look.arms["residual" if name == RESIDUAL else "plain"] if name != BASE else "0.2"
