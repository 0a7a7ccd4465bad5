"""From plain to residual by degrees: at which scale of the shortcut does degradation vanish?

Shortcuts are multiplied by `model.alpha`: at 0 the net is plain, bit by bit, at 1 residual. The
rule, of final training errors paired by seed, each depth against the shallowest at the same alpha:

    degrades    deep − shallow: the interval lies above the margin, 0.5 points
    vanished    it lies below it
    threshold   between the largest alpha that is not `vanished` and the next one tried, from which
                on every alpha is

Answers at one depth are given together.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.plots.style import Style, subplots
from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding, Line, diverged_note, in_points, paired_step, study_names

QUESTION = "At which scale of the shortcut does degradation vanish, by depth?"
DEGRADES, VANISHED = "degrades", "vanished"
WORDS = {verdict_rules.UP: DEGRADES, verdict_rules.NOT_UP: VANISHED}


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a protocol of which some runs have scaled shortcuts."""
    own = rows(table)
    bases = own["base"].value_counts().index
    for base, name in zip(bases, study_names(table, bases), strict=True):
        of_base = own[own["base"] == base]
        lines, draw = tuple(_lines(of_base, rule)), partial(figure, of_base)
        yield Finding("shortcut_scale", name, QUESTION, __doc__, lines, of_base, draw)


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a residual run, of the networks that were trained with scaled shortcuts."""
    own = table[(table["arm"] == "residual") & table["identity_init_from"].isna()]
    scaled = own["alpha"] != 1
    network = ["base", "shortcut", "depth"]
    own = own[scaled.groupby([own[key] for key in network]).transform("any")]
    columns = ["base", "alpha", "depth", "seed", "run", "state", "train_error", "test_error"]
    return own[columns].sort_values(["alpha", "depth", "seed"], ignore_index=True)


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    shallow, *deeper = sorted(own["depth"].unique())
    for deep in deeper:
        both = {
            float(str(alpha)): (of[of["depth"] == shallow], of[of["depth"] == deep])
            for alpha, of in own.groupby("alpha")
            if {shallow, deep} <= {*of["depth"]}
        }
        steps = verdict_rules.judge_steps(
            [paired_step(*of, rule, "residual") for of in both.values()], rule
        )
        judged = dict(zip(both, steps, strict=True))
        words = {a: WORDS.get(j.train_is, verdict_rules.UNDECIDED) for a, j in judged.items()}
        yield threshold(shallow, deep, words)
        for alpha, j in judged.items():
            text = f"alpha {alpha:g}, {shallow}→{deep}: {in_points(j)}{diverged_note(j)}"
            yield Line(words[alpha], text)


def threshold(shallow: int, deep: int, words: Mapping[float, str]) -> Line:
    """Where degradation vanishes for good, as alpha rises."""
    what, alphas = f"{shallow}→{deep} layers: degradation", sorted(words)
    if not alphas:
        return Line(verdict_rules.UNDECIDED, f"{what} was tried at no alpha")
    low = max((alpha for alpha in alphas if words[alpha] != VANISHED), default=None)
    if low is None:
        return Line(VANISHED, f"{what} is at no alpha, from {alphas[0]:g} on")
    if low == alphas[-1]:
        return Line(words[low], f"{what} is not known to vanish at any alpha, up to {low:g}")
    high = alphas[alphas.index(low) + 1]
    return Line(VANISHED, f"{what} vanishes between alpha {low:g} ({words[low]}) and {high:g}")


def figure(own: pd.DataFrame, style: Style) -> Figure:
    """The mean final training error, depth × alpha, with its spread and n in each cell."""
    cells = own.groupby(["depth", "alpha"])["train_error"]
    grid = cells.mean().unstack().rename(columns="{:g}".format)
    text = cells.agg(_cell).unstack().fillna("")
    size = (2.0 + 0.85 * grid.shape[1], 1.3 + 0.62 * grid.shape[0])
    with subplots(style, 1, size=size) as (drawn, axes):
        axis = axes[0][0]
        colours = {"cmap": "cividis", "vmin": 0, "vmax": 90}
        colours["cbar_kws"] = {"label": "training error (%)"}
        small = {"fmt": "", "annot_kws": {"fontsize": "x-small"}}
        sns.heatmap(grid.iloc[::-1], annot=text.iloc[::-1], **small, **colours, ax=axis)
        axis.grid(visible=False)
        axis.tick_params(axis="y", rotation=0)
        axis.set_xlabel("alpha: what the shortcut is multiplied by (0: plain, 1: residual)")
        axis.set_ylabel("depth (layers)")
    return drawn


def _cell(errors: "pd.Series[float]") -> str:
    """`40.1 ± 0.2`, `n=3`, and how many have no error: they diverged, or are unfinished."""
    n, without = int(errors.count()), int(errors.isna().sum())
    mean = f"{errors.mean():.1f}" if n else "–"
    spread = f" ± {errors.std():.1f}" if n > 1 else ""
    return f"{mean}{spread}\nn={n}" + (f", {without} not" if without else "")
