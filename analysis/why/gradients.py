"""Is it vanishing gradients? Signals and gradients layer by layer, at the start and along training.

The paper: "We argue that this optimization difficulty is unlikely to be caused by vanishing
gradients. These plain networks are trained with BN, which ensures forward propagated signals to
have non-zero variances. We also verify that the backward propagated gradients exhibit healthy norms
with BN" (Sec. 4.1); it shows no numbers. The rule, on what `layers.jsonl` holds (layerwise.py):

    ratio       the first 3×3 layer's gradient norm over the last one's, at one moment
    vanishing   the interval of the mean log10(ratio) over seeds lies below −1: less than a tenth
    exploding   it lies above +1: more than ten times
    healthy     it lies within ±1
    undecided   else; fewer than three seeds

"not vanishing" is reproduced where no plain net with batch normalisation is vanishing and none is
undecided; "healthy norms" where each is healthy; one that is not contradicts it. The signals' rule
is the same, with the last layer's response over the first one's. One look is at one batch; what a
norm of a factor 10 does to SGD it doesn't say. Gradients that are small in every layer alike have a
healthy ratio: the norms stand beside it.
"""

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.layer_responses import LINES
from analysis.plots.style import Line as Line2D
from analysis.plots.style import Look
from analysis.stats import inference, verdict_rules
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding, Line, study_names
from degradation.runs import run_dir

BOUND = 1.0  # decades
LEAST = 1e-45  # float32's smallest number: a zero is a norm below it
QUESTION = "Is it vanishing gradients?"
VANISHING, EXPLODING, HEALTHY = "vanishing", "exploding", "healthy"
RULE = """\
first layer's gradient norm / last layer's, mean log10 over seeds [95 % t interval]: vanishing below
-1, exploding above +1, healthy within (a factor of 10); signals: last response / first, likewise.
Each with p < 0.05 after Holm over the networks of a moment."""
NETWORK = ["norm", "arm", "depth"]
Network = tuple[bool, str, int]
Draw = Callable[[pd.DataFrame, Look], Figure]


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """Of the runs of one data set: one a way to start, and one a protocol that looked on."""
    fresh = table[(table["alpha"] == 1) & table["grown_from"].isna()]
    seen = looks(fresh)
    if seen.empty:
        return
    sizes = seen.groupby("start")["run"].nunique().sort_values(ascending=False, kind="stable")
    names = study_names(table, [str(i) for i in range(len(sizes))])
    for start, name in zip(sizes.index, names.values(), strict=True):
        first = seen[(seen["start"] == start) & (seen["iteration"] == 0)]
        first = first.drop_duplicates([*NETWORK, "seed", "layer"])
        yield _finding("gradients", name, first, "at the start", rule, at_start)
    later = seen[seen.groupby("run")["iteration"].transform("nunique") > 2]
    sizes = later.groupby("protocol")["run"].nunique().sort_values(ascending=False, kind="stable")
    for protocol, name in study_names(table, [str(key) for key in sizes.index]).items():
        own = later[(later["protocol"] == protocol) & (later["state"] == "done")]
        if len(own):
            yield _finding("layers", name, own, "at the end", rule, along)


def looks(table: pd.DataFrame) -> pd.DataFrame:
    """A line a run, moment and layer: the run's columns, iteration, layer, its numbers."""
    lines = []
    columns = ["run", "protocol", "start", "state", *NETWORK, "seed"]
    for run in table.to_dict("records"):
        path = run_dir.RunDir(Path(str(run["folder"]))).layers
        whole = [json.loads(line) for line in run_dir.whole_lines(path)]
        moments = {look["iteration"]: look["layers"] for look in whole}  # a resume looks twice
        own = {column: run[column] for column in columns}
        lines += [{**own, "iteration": iteration, **layer}
                  for iteration, layers in moments.items() for layer in layers]  # fmt: skip
    table = pd.DataFrame(lines)
    numbers = ["input_std", "response_std", "weight_norm", "gradient_norm"]
    if table.empty:
        return table
    table = table.astype(dict.fromkeys(numbers, float))
    return table.assign(gradient_to_weight=table["gradient_norm"] / table["weight_norm"])


def _finding(
    name: str, study: str, seen: pd.DataFrame, moment: str, rule: Rule, draw: Draw
) -> Finding:
    ends = ratios(seen)
    lines = tuple(_lines(ends, moment, rule))
    return Finding(name, study, f"{QUESTION} {moment.capitalize()}", RULE, lines, seen,
                   partial(draw, seen))  # fmt: skip


def ratios(seen: pd.DataFrame) -> pd.DataFrame:
    """A line a run, of its last look: log10 of the gradients' and of the responses' ratio."""
    last = seen[seen["iteration"] == seen.groupby("run")["iteration"].transform("max")]
    lines = []
    for (run, norm, arm, depth), own in last.groupby(["run", *NETWORK]):
        ordered = own.sort_values("layer")
        first, final = ordered.iloc[0], ordered.iloc[-1]
        lines.append({
            "run": run, "norm": norm, "arm": arm, "depth": depth,
            "gradient": _decades(first["gradient_norm"], final["gradient_norm"]),
            "signal": _decades(final["response_std"], first["response_std"]),
            "first": first["gradient_norm"], "last": final["gradient_norm"],
        })  # fmt: skip
    return pd.DataFrame(lines)


def _decades(one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return math.nan
    return math.log10(max(one, LEAST) / max(other, LEAST))


def words(ratios: pd.DataFrame, column: str, rule: Rule) -> dict[Network, Line]:
    """By network, its word and the numbers behind it."""
    groups: dict[Network, pd.Series[float]] = {
        (bool(norm), str(arm), int(str(depth))): own[column]
        for (norm, arm, depth), own in ratios.groupby(NETWORK)
    }
    effects = [inference.effect(own, rule.level, rule.least_spread) for own in groups.values()]
    low = verdict_rules.sides(effects, -BOUND, rule)
    high = verdict_rules.sides(effects, BOUND, rule)
    found = {}
    for key, own, effect, from_low, from_high in zip(
        groups, groups.values(), effects, low, high, strict=True
    ):
        lost = int(own.isna().sum())
        inside = (from_low, from_high) == (verdict_rules.ABOVE, verdict_rules.BELOW)
        word = (VANISHING if from_low == verdict_rules.BELOW
                else EXPLODING if from_high == verdict_rules.ABOVE
                else HEALTHY if inside and not lost else verdict_rules.UNDECIDED)  # fmt: skip
        factor = f"×{10**effect.mean:.2g}" if effect.n else "–"
        if effect.n > 1:
            factor += f" [{10**effect.low:.2g}, {10**effect.high:.2g}]"
        factor += f" n={effect.n}" + (f", not a number in {lost} more" if lost else "")
        found[key] = Line(word, factor)
    return found


def _lines(ratios: pd.DataFrame, moment: str, rule: Rule) -> Iterator[Line]:
    gradients, signals = (words(ratios, column, rule) for column in ("gradient", "signal"))
    plain = [line.word for (norm, arm, _), line in gradients.items() if norm and arm == "plain"]
    forward = [line.word for (norm, arm, _), line in signals.items() if norm and arm == "plain"]
    if plain:
        yield Line(_claim(plain, {VANISHING}), f"the paper's “unlikely to be caused by vanishing "
                   f"gradients”, plain nets with BN, {moment}")  # fmt: skip
        yield Line(_claim(plain, {VANISHING, EXPLODING}),
                   f"the paper's “healthy norms with BN”, plain nets, {moment}")  # fmt: skip
        said = f"the paper's “non-zero variances” of signals with BN, plain nets, {moment}"
        yield Line(_claim(forward, {VANISHING}), said)
    norms = ratios.groupby(NETWORK)[["first", "last"]].median()
    for (norm, arm, depth), line in gradients.items():
        yield Line(line.word, f"gradients of {network(norm, arm, depth)}, {moment}: first layer "
                   f"{line.text} of the last (norms {norms['first'][norm, arm, depth]:.2g} and "
                   f"{norms['last'][norm, arm, depth]:.2g}, medians)")  # fmt: skip
    for (norm, arm, depth), line in signals.items():
        yield Line(line.word, f"signals of {network(norm, arm, depth)}, {moment}: last response "
                   f"{line.text} of the first")  # fmt: skip


def _claim(found: list[str], against: set[str]) -> str:
    if against & {*found}:
        return "contradicted"
    return "undecided" if verdict_rules.UNDECIDED in found else "reproduced"


def network(norm: bool, arm: str, depth: int) -> str:
    return f"{arm}-{depth}{'' if norm else ' without BN'}"


def at_start(seen: pd.DataFrame, look: Look) -> Figure:
    """Gradient norm | spread of inputs and responses, by layer; with and without normalisation."""
    norms = sorted(seen["norm"].unique(), reverse=True)
    width, height = look.panel
    with matplotlib.rc_context(look.settings):
        figure = Figure(figsize=(width * len(norms), 2.3 * height), layout="constrained")
        axes = figure.subplots(3, len(norms), squeeze=False, sharex=True)
        for column, norm in enumerate(norms):
            upper, middle, lower = axes[:, column]
            for (arm, depth), own in seen[seen["norm"] == norm].groupby(["arm", "depth"]):
                line = {**LINES[str(arm)], "color": look.colour(int(depth)), "linewidth": 1.3}
                n = own["seed"].nunique()
                _layers(upper, own, "gradient_norm", line | {"label": f"{arm}-{depth} (n={n})"})
                _layers(middle, own, "gradient_to_weight", line)
                _layers(lower, own, "response_std", line)
                _layers(lower, own, "input_std", line | {"linewidth": 0.6, "alpha": 0.6})
            upper.set_title("with batch normalisation" if norm else "without")
            lower.set_xlabel("layer")
        axes[0][0].set_ylabel("gradient norm")
        axes[1][0].set_ylabel("gradient / weight norm")
        axes[2][0].set_ylabel("std: response (strong), input (thin)")
        axes[0][0].legend()
        note = "before the first step; mean of seeds (geometric), shaded: their range"
        figure.supxlabel(note, fontsize="small", x=0.99, ha="right")
    return figure


def along(seen: pd.DataFrame, look: Look) -> Figure:
    """Gradient norm | response by layer, a line a moment, a column a network."""
    networks = [key for key, _ in seen.groupby(["arm", "depth"])]
    width, height = look.panel
    moments = sorted(int(i) for i in seen["iteration"].unique())
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(moments)))
    with matplotlib.rc_context(look.settings):
        figure = Figure(figsize=(0.8 * width * len(networks), 2.3 * height), layout="constrained")
        axes = figure.subplots(3, len(networks), squeeze=False, sharey="row", sharex="col")
        for (arm, depth), (upper, middle, lower) in zip(networks, axes.T, strict=True):
            own = seen[(seen["arm"] == arm) & (seen["depth"] == depth)]
            for iteration, colour in zip(moments, colours, strict=True):
                then = own[own["iteration"] == iteration]
                line = {"color": colour, "linewidth": 1.2, "label": f"{iteration}"}
                _layers(upper, then, "gradient_norm", line)
                _layers(middle, then, "gradient_to_weight", line)
                _layers(lower, then, "response_std", line)
            upper.set_title(f"{arm}-{depth} (n={own['seed'].nunique()})")
            lower.set_xlabel("layer")
        axes[0][0].set_ylabel("gradient norm")
        axes[1][0].set_ylabel("gradient / weight norm")
        axes[2][0].set_ylabel("response std")
        axes[-1][0].legend(title="iteration", loc="upper center", ncols=2)
        note = "on one batch, the same each time; geometric mean of seeds, shaded: their range"
        figure.supxlabel(note, fontsize="small", x=0.99, ha="right")
    return figure


def _layers(axis: Axes, own: pd.DataFrame, column: str, line: Line2D) -> None:
    """The seeds' geometric mean by layer, and their range, on a log axis."""
    values = own.pivot_table(index="layer", columns="seed", values=column).clip(lower=LEAST)
    if values.empty:
        return
    axis.plot(values.index, 10 ** np.log10(values).mean(axis=1), **line)
    if values.shape[1] > 1 and line["linewidth"] > 1:
        axis.fill_between(values.index, values.min(axis=1), values.max(axis=1),
                          color=line["color"], alpha=0.15, linewidth=0)  # fmt: skip
    axis.set_yscale("log")
