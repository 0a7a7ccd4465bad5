"""From plain to residual by degrees: at which strength of the shortcut does degradation vanish?

Shortcuts times `alpha`: at 0 the net is plain, bit by bit, at 1 residual. The rule, of final
training errors paired by seed, each depth against the shallowest at the same alpha:

    degrades    deep − shallow: the interval lies above the margin, 0.5 points
    vanished    it lies below it
    threshold   between the largest alpha that is not `vanished` and the next one tried, from which
                on every alpha is

Answers at one depth are given together.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots import curves
from analysis.plots.style import Look
from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import (
    Finding,
    Line,
    lost,
    shown,
    step,
    study_names,
    why_open,
)

QUESTION = "At which strength of the shortcut does degradation vanish, by depth?"
RULE = """\
final training error, each depth − the shallowest at the same alpha, paired by seed: degrades where
the interval lies above +0.5 points, vanished where below."""
DEGRADES, VANISHED = "degrades", "vanished"
BRIGHT = 50  # percent, from which the heat map is too bright for white letters


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a protocol of which some runs have scaled shortcuts."""
    own = rows(table)
    if own.empty:
        return
    bases = own["base"].value_counts().index
    for base, name in study_names(table, [str(base) for base in bases]).items():
        of_base = own[own["base"] == base]
        yield Finding("alpha", name, QUESTION, RULE, tuple(_lines(of_base, rule)), of_base,
                      partial(figure, of_base))  # fmt: skip


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a residual run, of the depths that were trained with scaled shortcuts."""
    own = table[(table["arm"] == "residual") & table["grown_from"].isna()]
    scaled = own["alpha"] != 1
    there = {*zip(own[scaled]["base"], own[scaled]["shortcut"], own[scaled]["depth"], strict=True)}
    kept = [key in there for key in zip(own["base"], own["shortcut"], own["depth"], strict=True)]
    columns = ["base", "alpha", "depth", "seed", "run", "state", "train_error", "test_error"]
    own = own.loc[kept, columns]
    own["strength"] = [f"{alpha:g}" for alpha in own["alpha"]]
    return own.sort_values(["alpha", "depth", "seed"], ignore_index=True)


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    depths = sorted(own["depth"].unique())
    for depth in depths[1:]:
        found = judged(own, int(depths[0]), int(depth), rule)
        words = {name: word for name, (word, _) in found.items()}
        yield threshold(int(depths[0]), int(depth), sorted(own["alpha"].unique()), words)
        for name, (word, of) in found.items():
            runs = own[(own["strength"] == name) & own["depth"].isin((depths[0], depth))]
            configs = f"{shown(of.train)} points{why_open(of)}{lost(runs)}"
            yield Line(word, f"alpha {name}, {depths[0]}→{depth}: {configs}")


def judged(
    own: pd.DataFrame, shallow: int, deep: int, rule: Rule
) -> dict[str, tuple[str, verdict_rules.StepVerdict]]:
    """By strength, its word and what it rests on."""
    names = list(dict.fromkeys(own["strength"]))
    nets = [own[own["strength"] == name] for name in names]
    steps = [step(of[of["depth"] == shallow], of[of["depth"] == deep], shallow, deep)
             for of in nets]  # fmt: skip
    words = {verdict_rules.UP: DEGRADES, verdict_rules.NOT_UP: VANISHED}
    return {
        name: (words.get(j.train_is, verdict_rules.UNDECIDED), j)
        for name, j in zip(names, verdict_rules.together(steps, rule), strict=True)
    }


def threshold(shallow: int, deep: int, alphas: list[float], words: dict[str, str]) -> Line:
    """Where degradation vanishes for good, as the alphas rise."""
    after = len(alphas)
    while after and words.get(f"{alphas[after - 1]:g}") == VANISHED:
        after -= 1
    what = f"{shallow}→{deep} layers: degradation"
    if after == len(alphas):
        word = words.get(f"{alphas[-1]:g}", verdict_rules.UNDECIDED)
        return Line(word, f"{what} is not known to vanish at any alpha, up to {alphas[-1]:g}")
    if not after:
        return Line(VANISHED, f"{what} is at no alpha, from {alphas[0]:g} on")
    low, high = alphas[after - 1], alphas[after]
    last = words.get(f"{low:g}", verdict_rules.UNDECIDED)
    return Line(VANISHED, f"{what} vanishes between alpha {low:g} ({last}) and {high:g}")


def figure(own: pd.DataFrame, look: Look) -> Figure:
    """The mean final training error, depth × alpha, with n in each cell."""
    depths = sorted(own["depth"].unique())
    names = list(dict.fromkeys(own["strength"]))
    cells = {key: of["train_error"] for key, of in own.groupby(["strength", "depth"])}
    none = pd.Series(dtype=float)
    grid = np.array([[cells.get((name, d), none).mean() for name in names] for d in depths])
    with curves.panels(look, 1) as (drawn, (axis,)):
        drawn.set_figwidth(1.2 + 0.75 * len(names) + 0.8)
        drawn.set_figheight(1.3 + 0.62 * len(depths))
        image = axis.imshow(grid, cmap="cividis", vmin=0, vmax=90, aspect="auto", origin="lower")
        for (name, depth), errors in cells.items():
            text = f"{errors.mean():.1f}" if errors.count() else "–"
            without = int(errors.isna().sum())  # diverged, or unfinished
            text += f"\nn={errors.count()}" + (f", {without} not" if without else "")
            colour = "black" if errors.mean() >= BRIGHT else "white"
            axis.text(names.index(name), depths.index(depth), text, ha="center", va="center",
                      fontsize="x-small", color=colour)  # fmt: skip
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(depths)), [str(d) for d in depths])
        axis.grid(False)
        axis.set_xlabel("alpha: what the shortcut is multiplied by (0: plain, 1: residual)")
        axis.set_ylabel("depth (layers)")
        drawn.colorbar(image, ax=axis, label="training error (%)")
    return drawn
