"""Which intervention helps a plain net, and how much of the gap between depths does it close?

An intervention is one change of the settings, named by the runs' `variant`. Its base is the
protocol without a name that differs from it in the fewest settings. The nets are the deepest and
the shallowest plain ones that the interventions and their base share. The rule, of final training
errors paired by seed:

    gap         deep − shallow under the intervention
    change      the deep net's error under the intervention − without it
    cures       gap below the margin, 0.5 points, and change below −0.5 (intervals): two nets that
                are stuck alike would have no gap, too
    helps       change below −0.5, the gap not known to be closed
    no help     change above −0.5
    undecided   else; runs that diverged withhold the answer that their absence favours
    closed      1 − gap / gap without an intervention, of the means; given where the deep net got
                better

Answers about one question are given together, over the interventions. An intervention is tried at
one value, so a better one may exist; and a shallow net that an intervention makes worse closes some
of the gap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.frames.runs import SHORTCUTS
from analysis.plots.style import Style, footnote, subplots
from analysis.stats import inference, verdict_rules
from analysis.stats.inference import Effect, format_effect
from analysis.stats.verdict_rules import Rule, Step
from analysis.why.finding import Finding, Line, paired_step, study_names
from degradation.config.identity import difference, identity
from degradation.runs.run_dir import RunDir

QUESTION = "Which intervention helps a plain net?"
BASE, RESIDUAL = "none", "residual"
CURES, HELPS, NO_HELP = "cures", "helps", "no help"


@dataclass(frozen=True)
class Tried:
    """What an intervention, or none, did."""

    word: str
    gap: Step
    change: Effect
    """Of the deep net's error."""


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a study whose runs name interventions."""
    whole = table[(table["base"] == table["protocol"]) & ~table["layers_only"]]
    plain = whole[whole["arm"] == "plain"]
    named = plain[plain["variant"] != ""]
    found = {}
    for study, own in named.groupby("study"):
        base = _base(plain[plain["variant"] == ""], own)
        nets = rows(whole[whole["protocol"] == base], own)
        if nets["intervention"].nunique() > 1:
            found[study] = nets
    ordered = sorted(found, key=lambda study: -len(found[study]))
    for study, name in zip(ordered, study_names(table, ordered), strict=True):
        own = found[study]
        lines, draw = tuple(_lines(own, rule)), partial(figure, own, rule)
        yield Finding("interventions", name, QUESTION, __doc__, lines, own, draw)


def _base(candidates: pd.DataFrame, named: pd.DataFrame) -> str:
    """The protocol among the candidates that the named ones differ from in the fewest settings."""
    changed = [_settings(own) for _, own in named.groupby("protocol")]
    distances = {
        str(protocol): sum(len(difference(_settings(own), other)) for other in changed)
        for protocol, own in candidates.groupby("protocol")
    }
    return min(distances, key=lambda protocol: distances[protocol], default="")


def _settings(runs: pd.DataFrame) -> dict[str, object]:
    """What the runs of one protocol share."""
    config = RunDir(Path(str(runs["folder"].iloc[0]))).config()
    return {k: v for k, v in identity(config).items() if k not in ("depth", "seed")}


def rows(base: pd.DataFrame, named: pd.DataFrame) -> pd.DataFrame:
    """A line a run of the two depths: intervention (none: the base's plain nets; residual: its
    residual ones), depth, seed, state, errors. Empty where no two depths are shared."""
    base = base[base["shortcut"].isin(SHORTCUTS)]
    both = pd.concat(
        [
            base.assign(intervention=base["arm"].map({"plain": BASE, "residual": RESIDUAL})),
            named.assign(intervention=named["variant"]),
        ]
    )
    shared = {*named["depth"]} & {*base[base["arm"] == "plain"]["depth"]}
    two = {min(shared), max(shared)} if len(shared) > 1 else set()
    columns = ["intervention", "depth", "seed", "run", "state", "train_error", "test_error"]
    both = both[both["depth"].isin(two)][columns]
    return both.sort_values(["intervention", "depth", "seed"], ignore_index=True)


def judged(own: pd.DataFrame, rule: Rule) -> dict[str, Tried]:
    """What each intervention did; the base first, the residual nets last."""
    shallow, deep = own["depth"].min(), own["depth"].max()
    order = sorted(own["intervention"].unique(), key=lambda n: (n == RESIDUAL, n != BASE, n))
    nets = {name: own[own["intervention"] == name] for name in order}
    nets = {name: of for name, of in nets.items() if of["depth"].nunique() == 2}
    deeper = {name: of[of["depth"] == deep] for name, of in nets.items()}
    pairs = [
        paired_step(of[of["depth"] == shallow], deeper[name], rule) for name, of in nets.items()
    ]
    gaps = verdict_rules.judge_steps(pairs, rule)
    changes = [paired_step(deeper[BASE], of, rule) for of in deeper.values()]
    sides = ["", *verdict_rules.sides([c.train for c in changes[1:]], -rule.margin, rule)]
    return {
        name: Tried(_word(side, gap, change), gap, change.train)
        for name, side, gap, change in zip(nets, sides, gaps, changes, strict=True)
    }


def _word(side: str, gap: Step, change: Step) -> str:
    """The word for the side of the bound on which the deep net's change lies; none: the base."""
    if not side:
        return "base"
    if side == verdict_rules.ABOVE:
        return NO_HELP
    if side == verdict_rules.UNKNOWN or change.diverged[1]:
        return verdict_rules.UNDECIDED  # diverged: the runs that are left favour the intervention
    return CURES if gap.train_is == verdict_rules.NOT_UP else HELPS


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    found = judged(own, rule)
    whole = found[BASE].gap.train.mean
    for name, tried in found.items():
        gap = tried.gap
        text = f"{name}: gap {gap.deep} − {gap.shallow} layers {format_effect(gap.train, 1)} points"
        if tried.word in (CURES, HELPS) and whole > 0:
            text += f", closed {100 * (1 - gap.train.mean / whole):.0f} %"
        if name != BASE:
            text += f"; deep net {format_effect(tried.change, 1)}"
        counts = zip(gap.diverged, (gap.shallow, gap.deep), strict=True)
        lost = [f"{count} of {depth} layers" for count, depth in counts if count]
        text += f"; diverged: {', '.join(lost)}" if lost else ""
        yield Line(tried.word, text)


def figure(own: pd.DataFrame, rule: Rule, style: Style) -> Figure:
    """The gap by intervention, mean and interval | the two nets' errors; the residual net's too."""
    gaps = {name: tried.gap for name, tried in judged(own, rule).items()}
    shallow, deep = own["depth"].min(), own["depth"].max()
    labels = {}
    for name, gap in sorted(gaps.items(), key=lambda item: item[1].train.mean):
        lost = f", {sum(gap.diverged)} diverged" if any(gap.diverged) else ""
        labels[name] = f"{name} (n={gap.n}{lost})"
    own = own[own["intervention"].isin(labels)]
    own = own.assign(intervention=own["intervention"].map(labels))
    errors = own.pivot_table("train_error", ["intervention", "seed"], "depth").dropna()
    seeds, order = (errors[deep] - errors[shallow]).rename("gap").reset_index(), [*labels.values()]
    dots = {"y": "intervention", "order": order, "jitter": False, "size": 4, "alpha": 0.5}
    means = {"y": "intervention", "order": order, "errorbar": inference.t_interval}
    means |= {"linestyle": "none", "marker": "D", "markersize": 4, "capsize": 0.3}
    size = (1.2 * style.panel[0], 0.9 + 0.24 * len(order))
    with subplots(style, 2, size=size, sharey=True) as (drawn, axes):
        left, right = axes[0]
        sns.stripplot(seeds, x="gap", color="0.5", ax=left, **dots)
        sns.pointplot(seeds, x="gap", color=style.arms["plain"], ax=left, **means)
        left.axvline(gaps[BASE].train.mean, color="0.4", linewidth=0.8, linestyle="--")
        left.axvline(0, color="0.4", linewidth=0.8)
        left.set(xlabel=f"gap {deep} − {shallow} layers,\ntraining error (points)", ylabel="")
        layers = own["depth"].astype(str) + " layers"
        palette = {f"{shallow} layers": "0.6", f"{deep} layers": "0.1"}
        sns.stripplot(own, x="train_error", hue=layers, palette=palette, ax=right, **dots)
        right.set(xlabel="training error (%)", xlim=(0, 100))
        right.legend(loc="best")
        footnote(drawn, "dots: a seed each; diamonds: means with their 95 % t intervals")
    return drawn
