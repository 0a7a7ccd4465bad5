"""The constructed solution: does SGD keep it, from how far away, and is it found from scratch?

"There exists a solution by construction to the deeper model: the added layers are identity mapping,
and the other layers are copied from the learned shallower model" (Sec. 1). A deepened net starts
there, its added layers `recipe.identity_init_noise` away. The rule, of final training errors paired
by seed:

    kept        deepened − shallow: the interval lies below the margin, 0.5 points
    lost        it lies above it
    beats       deepened − from scratch at the same depth: the interval lies below −0.5 points

A deepened net has had the shallow one's iterations, too: that it beats one from scratch shows that
the solution is there and is kept, not that the same budget finds it.
"""

from collections.abc import Iterator
from functools import partial

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.style import Style, footnote, remove_legend, subplots
from analysis.stats import verdict_rules
from analysis.stats.inference import format_effect
from analysis.stats.verdict_rules import Rule, Step
from analysis.why.finding import Finding, Line, diverged_note, in_points, paired_step, study_names

QUESTION = "Does SGD keep the constructed solution, and from how far away?"
WORDS = {
    verdict_rules.UP: "lost",
    verdict_rules.NOT_UP: "kept",
    verdict_rules.UNKNOWN: "undecided",
}
BEATS = {verdict_rules.BELOW: "beats", verdict_rules.ABOVE: "does not beat"}


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """One a base protocol and pair of depths."""
    deepened = rows(table)
    if deepened.empty:
        return
    keys = ["base", "identity_init_from", "depth"]
    groups = sorted(deepened.groupby(keys), key=lambda group: -len(group[1]))
    names = study_names(table, ("-".join(map(str, key)) for key, _ in groups))
    for name, (_, own) in zip(names, groups, strict=True):
        lines, draw = tuple(_lines(own, rule)), partial(figure, own)
        yield Finding("identity_init", name, QUESTION, __doc__, lines, own, draw)


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """A line a deepened run: arm, depths, noise, seed, state; errors of its first row and its end,
    and the final ones of the shallow net and of the net from scratch (NaN: not there)."""
    own = table[table["identity_init_from"].notna() & (table["alpha"] == 1)]
    own = own.astype({"identity_init_from": int})
    kept = ["base", "arm", "shortcut", "seed", "identity_init_from", "depth"]
    columns = [*kept, "identity_init_noise", "run", "state", "first_train", "first_test"]
    own = own[[*columns, "train_error", "test_error"]]
    scratch = table[table["identity_init_from"].isna() & (table["base"] == table["protocol"])]
    network = ["base", "arm", "shortcut", "seed", "depth"]
    ends = scratch.drop_duplicates(network).set_index(network)[["train_error", "test_error"]]
    shallow = [*network[:-1], "identity_init_from"]
    own = own.join(ends.rename_axis(shallow).add_suffix("_shallow"), on=shallow)
    own = own.join(ends.add_suffix("_scratch"), on=network)
    return own.sort_values(["arm", "identity_init_noise", "seed"], ignore_index=True)


def _lines(own: pd.DataFrame, rule: Rule) -> Iterator[Line]:
    for arm, of_arm in own.groupby("arm"):
        noises = {float(str(noise)): runs for noise, runs in of_arm.groupby("identity_init_noise")}
        steps = [_beside(runs, "shallow", rule) for runs in noises.values()]
        judged = verdict_rules.judge_steps(steps, rule)
        words = [WORDS[j.train_is] for j in judged]
        yield how_far(str(arm), list(noises), words)
        scratch = [_beside(runs, "scratch", rule).train for runs in noises.values()]
        sides = verdict_rules.sides(scratch, -rule.margin, rule)
        for noise, j, effect, side in zip(noises, judged, scratch, sides, strict=True):
            text = f"{arm}, noise {noise:g}: deepened − shallow {in_points(j)}"
            beside = f"{BEATS.get(side, 'undecided against')} the one from scratch"
            text += f"; {beside} ({format_effect(effect)}){diverged_note(j)}"
            yield Line(WORDS[j.train_is], text)


def how_far(arm: str, noises: list[float], words: list[str]) -> Line:
    """From which distances SGD keeps the solution."""
    kept = next((i for i, word in enumerate(words) if word != "kept"), len(words))
    if kept == 0:
        return Line(words[0], f"{arm}: SGD does not keep it from noise {noises[0]:g} on")
    last = f"up to noise {noises[kept - 1]:g}"
    if kept == len(noises):
        return Line("kept", f"{arm}: SGD keeps it from every distance tried, {last}")
    return Line("kept", f"{arm}: SGD keeps it {last}; {words[kept]} at {noises[kept]:g}")


def _beside(runs: pd.DataFrame, other: str, rule: Rule) -> Step:
    """The deepened runs beside the shallow ones, or those from scratch, of their seeds."""
    depth = "identity_init_from" if other == "shallow" else "depth"
    errors = {f"{e}_error_{other}": f"{e}_error" for e in ("train", "test")}
    theirs = runs[["seed", depth, *errors]].rename(columns={depth: "depth", **errors})
    return paired_step(theirs.assign(state="done"), runs, rule, str(runs["arm"].iloc[0]))


def figure(own: pd.DataFrame, style: Style) -> Figure:
    """Training error of the shallow net, the deepened ones by distance, the one from scratch."""
    arms = own.groupby("arm")
    with subplots(style, len(arms)) as (drawn, axes):
        for axis, (arm, of_arm) in zip(axes[0], arms, strict=True):
            _arm(axis, of_arm, style.arms[str(arm)])
            one = of_arm.iloc[0]
            axis.set_title(f"{arm}, {one['identity_init_from']} → {one['depth']} layers")
            axis.set_ylabel("")
        axes[0][0].set_ylabel("training error (%)")
        axes[0][0].legend(loc="best")
        footnote(drawn, "a dot a seed; bars: means; dotted: the mean of the shallow nets")
    return drawn


def _arm(axis: Axes, own: pd.DataFrame, colour: str) -> None:
    seeds = own.drop_duplicates("seed")
    parts = [("shallow", "end", seeds["train_error_shallow"])]
    for noise, runs in own.groupby("identity_init_noise"):
        parts.append((f"{noise:g}", "first row", runs["first_train"]))
        parts.append((f"{noise:g}", "end", runs["train_error"]))
    parts.append(("from\nscratch", "end", seeds["train_error_scratch"]))
    long = pd.concat(
        pd.DataFrame({"place": place, "moment": moment, "error": errors})
        for place, moment, errors in parts
    )
    palette = {"first row": "0.6", "end": colour}
    drawing = {"x": "place", "y": "error", "hue": "moment", "palette": palette, "ax": axis}
    drawing["hue_order"] = list(palette)
    means = {"errorbar": None, "linestyle": "none", "marker": "_", "markersize": 11}
    sns.stripplot(long, **drawing, dodge=True, jitter=False, size=4, alpha=0.7)
    sns.pointplot(long, **drawing, **means, dodge=0.4, legend=False)
    remove_legend(axis)
    axis.axhline(seeds["train_error_shallow"].mean(), color="0.5", linewidth=0.7, linestyle=":")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("noise of the added layers")
