"""The constructed solution: does SGD keep it, from how far away, and is it found from scratch?

"There exists a solution by construction to the deeper model: the added layers are identity mapping,
and the other layers are copied from the learned shallower model" (Sec. 1). A grown net starts
there, its added layers `grown_noise` away (grow.py). The rule, of final training errors paired by
seed:

    kept        grown − shallow: the interval lies below the margin, 0.5 points
    lost        it lies above it
    beats       grown − from scratch at the same depth: the interval lies below −0.5 points

A grown net has had the shallow one's iterations, too: that it beats one from scratch says that the
solution is there and is held, not that the same budget finds it.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frames.pairs import END
from analysis.plots import curves
from analysis.plots.style import Look
from analysis.stats import inference, verdict_rules
from analysis.stats.verdict_rules import Rule, Step
from analysis.why.finding import (
    Finding,
    Line,
    lost,
    shown,
    study_names,
    why_open,
)

QUESTION = "Does SGD keep the constructed solution, and from how far away?"
RULE = """\
final training error, paired by seed: kept where grown − shallow lies below +0.5 points, lost where
above; beats where grown − from scratch lies below −0.5."""


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a base protocol and pair of depths that some run is grown by."""
    grown = rows(table)
    if grown.empty:
        return
    keys = ["base", "grown_from", "depth"]
    groups = list(grown.groupby(keys, sort=True))
    groups.sort(key=lambda group: -len(group[1]))
    names = study_names(table, [f"{base}-{a}-{b}" for (base, a, b), _ in groups])
    for name, (_, own) in zip(names.values(), groups, strict=True):
        yield Finding("identity_init", name, QUESTION, RULE, tuple(_lines(own, rule)), own,
                      partial(figure, own))  # fmt: skip


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a grown run: arm, depths, noise, seed, state; training and test error of the shallow
    net, of the grown one's first row and end, and of the net from scratch (NaN: not there)."""
    own = table[table["grown_from"].notna() & (table["alpha"] == 1)].copy()
    own["grown_from"] = own["grown_from"].astype(int)
    columns = ["base", "arm", "shortcut", "grown_from", "depth", "grown_noise", "seed", "run",
               "state", "first_train", "first_test", "train_error", "test_error"]  # fmt: skip
    own = own[columns].rename(columns={"train_error": "end_train", "test_error": "end_test"})
    plainly = table[table["grown_from"].isna() & (table["base"] == table["protocol"])]
    ends = plainly[["protocol", "arm", "shortcut", "depth", "seed", "train_error", "test_error"]]
    ends = ends.drop_duplicates(["protocol", "arm", "shortcut", "depth", "seed"])
    for name, depth in (("shallow", "grown_from"), ("scratch", "depth")):
        renamed = ends.rename(columns={"protocol": "base", "depth": depth,
                                       "train_error": f"{name}_train",
                                       "test_error": f"{name}_test"})  # fmt: skip
        own = own.merge(renamed, how="left", on=["base", "arm", "shortcut", depth, "seed"])
    return own.sort_values(["arm", "grown_noise", "seed"], ignore_index=True)


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    for arm, of_arm in own.groupby("arm"):
        noises = {float(noise): runs for noise, runs in of_arm.groupby("grown_noise")}  # type: ignore[arg-type]
        judged = verdict_rules.together([_step(runs) for runs in noises.values()], rule)
        words = {verdict_rules.UP: "lost", verdict_rules.NOT_UP: "kept", verdict_rules.UNKNOWN: "undecided"}
        found = [words[j.train_is] for j in judged]
        yield Line(*_how_far(str(arm), list(noises), found))
        scratch = [inference.effect(runs["end_train"] - runs["scratch_train"], rule.level,
                                    rule.least_spread) for runs in noises.values()]  # fmt: skip
        sides = verdict_rules.sides(inference.over_depths(scratch), -rule.margin, rule)
        for (noise, runs), j, word, against, side in zip(
            noises.items(), judged, found, scratch, sides, strict=True
        ):
            beats = {verdict_rules.BELOW: "beats", verdict_rules.ABOVE: "does not beat"}
            text = f"{arm}, noise {noise:g}: grown − shallow {shown(j.train)} points{why_open(j)}"
            beside = f"{beats.get(side, 'undecided against')} the one from scratch"
            yield Line(word, f"{text}; {beside} ({shown(against)}){lost(runs)}")


def _how_far(arm: str, noises: list[float], found: list[str]) -> tuple[str, str]:
    """From which distances SGD keeps what it is given."""
    kept = []
    for noise, word in zip(noises, found, strict=True):
        if word != "kept":
            break
        kept.append(noise)
    if not kept:
        return found[0], f"{arm}: SGD does not keep it from noise {noises[0]:g} on"
    if len(kept) == len(noises):
        return "kept", f"{arm}: SGD keeps it from every distance tried, up to noise {kept[-1]:g}"
    after = noises[len(kept)]
    return "kept", f"{arm}: SGD keeps it up to noise {kept[-1]:g}; {found[len(kept)]} at {after:g}"


def _step(runs: pd.DataFrame) -> Step:
    one = runs.iloc[0]
    train, test = (runs[f"end_{e}"] - runs[f"shallow_{e}"] for e in ("train", "test"))
    used = train.notna() & test.notna()
    diverged = int((runs["state"] == "diverged").sum())
    return Step(
        str(one["arm"]), int(one["grown_from"]), int(one["depth"]), END,
        train[used].to_numpy(float), test[used].to_numpy(float),
        len(runs) - int(used.sum()), (0, diverged),
    )  # fmt: skip


def figure(own: pd.DataFrame, look: Look) -> Figure:
    """Training error of the shallow net, the grown ones by distance, the one from scratch."""
    arms = [arm for arm in look.arms if (own["arm"] == arm).any()]
    with curves.panels(look, len(arms)) as (drawn, axes):
        for axis, arm in zip(axes, arms, strict=True):
            _arm(axis, own[own["arm"] == arm], look.arms[arm])
            one = own.iloc[0]
            axis.set_title(f"{arm}, {one['grown_from']} → {one['depth']} layers")
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel("training error (%)")
        axes[0].legend(loc="best")
        drawn.supxlabel("a dot a seed; bars: mean", fontsize="small", x=0.99, ha="right")
    return drawn


def _arm(axis: Axes, own: pd.DataFrame, colour: str) -> None:
    ends = own.drop_duplicates("seed")
    places = [("shallow", {"end": ends["shallow_train"]})]
    places += [(f"{noise:g}", {"first row": of["first_train"], "end": of["end_train"]})
               for noise, of in own.groupby("grown_noise")]  # fmt: skip
    places.append(("from\nscratch", {"end": ends["scratch_train"]}))
    for place, (_, moments) in enumerate(places):
        for aside, (kind, values) in enumerate(moments.items()):
            x = place + (0.16 * (2 * aside - 1) if len(moments) > 1 else 0)
            marker = colour if kind == "end" else "none"
            label = kind if place == 1 else None
            axis.plot([x] * len(values), values, "o", color=colour, markerfacecolor=marker,
                      markersize=4, alpha=0.7, label=label)  # fmt: skip
            if values.notna().any():
                axis.plot([x - 0.13, x + 0.13], [values.mean()] * 2, color=colour, linewidth=1.8)
    if ends["shallow_train"].notna().any():
        axis.axhline(ends["shallow_train"].mean(), color="0.5", linewidth=0.7, linestyle=":")
    axis.set_xticks(range(len(places)), [name for name, _ in places])
    axis.set_xlabel("noise of the added layers")
