"""Is it vanishing gradients? Signals and gradients layer by layer, at the start and along training.

The paper: "We argue that this optimization difficulty is unlikely to be caused by vanishing
gradients. These plain networks are trained with BN, which ensures forward propagated signals to
have non-zero variances. We also verify that the backward propagated gradients exhibit healthy norms
with BN" (Sec. 4.1); it shows no numbers. The rule, on the numbers of `layers.jsonl`:

    ratio       the first 3×3 layer's gradient norm over the last one's, at one moment
    vanishing   the interval of the mean log10(ratio) over seeds lies below −1: less than a tenth
    exploding   it lies above +1: more than ten times
    healthy     it lies within ±1
    undecided   else; fewer than three seeds

"not vanishing" is reproduced where no plain net with batch normalization is vanishing and none is
undecided; "healthy norms" where each is healthy; one that is not contradicts it. The signals' rule
is the same, with the last layer's response over the first one's. Every moment is measured on one
batch; what a norm of a factor 10 does to SGD it does not say. Gradients that are small in every
layer alike have a healthy ratio: the norms stand beside it.
"""

from collections.abc import Hashable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.layer_responses import network_lines
from analysis.plots.style import Style, footnote, remove_legend, subplots
from analysis.stats import verdict_rules
from analysis.stats.inference import Effect
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding, Line, study_names
from degradation.runs.run_dir import RunDir, parsed_lines

BOUND = 1.0  # decades
LEAST = 1e-45  # float32's smallest number: a norm of 0 is one below it
MEAN = "geometric mean of the seeds, shaded: their range"
QUESTION = "Is it vanishing gradients?"
VANISHING, EXPLODING, HEALTHY = "vanishing", "exploding", "healthy"
START, END = "at the start", "at the end"
NETWORK = ["norm", "arm", "depth"]
NUMBERS = ["input_std", "response_std", "weight_norm", "gradient_norm"]
LABELS = {
    "gradient_norm": "gradient norm",
    "gradient_to_weight": "gradient / weight norm",
    "response_std": "std of the response",
}
Network = tuple[Hashable, ...]
"""With normalization or without, arm, depth."""


def findings(table: pd.DataFrame, rule: Rule) -> Iterator[Finding]:
    """Of one data set: one a way to start, and one a protocol that measured along training."""
    layers = layer_log(table[table["base"] == table["protocol"]])
    if layers.empty:
        return
    keys = ["with_norm", *NETWORK, "seed", "layer"]
    first = layers[layers["iteration"] == 0].drop_duplicates(keys)
    # A run that was measured before its first step alone has no end.
    trained = layers.groupby("run")["iteration"].transform("max") > 0
    later = layers[trained & ~layers["layers_only"] & (layers["state"] == "done")]
    for name, rows, by, moment, draw in (
        ("gradients", first, "with_norm", START, at_start),
        ("layers", later, "protocol", END, along),
    ):
        # The protocol of the most runs first.
        sizes = rows.groupby(by)["run"].nunique().sort_values(ascending=False, kind="stable")
        for key, study in zip(sizes.index, study_names(table, sizes.index), strict=True):
            own, question = rows[rows[by] == key], f"{QUESTION} {moment.capitalize()}"
            lines = tuple(_lines(ratios(own), moment, rule))
            yield Finding(name, study, question, __doc__, lines, own, partial(draw, own))


def layer_log(runs: pd.DataFrame) -> pd.DataFrame:
    """A line a run, moment and layer: the run's columns, iteration, layer, NUMBERS, their ratio."""
    lines = []
    columns = ["run", "protocol", "with_norm", "state", "layers_only", *NETWORK, "seed"]
    for run in runs.to_dict("records"):
        path = RunDir(Path(str(run["folder"]))).layers
        # A resumed run may have logged a moment twice.
        moments = {entry["iteration"]: entry["layers"] for entry in parsed_lines(path)}
        own = {column: run[column] for column in columns}
        for iteration, layers in moments.items():
            lines += [{**own, "iteration": iteration, **layer} for layer in layers]
    if not lines:
        return pd.DataFrame()
    table = pd.DataFrame(lines).astype(dict.fromkeys(NUMBERS, float))
    return table.assign(gradient_to_weight=table["gradient_norm"] / table["weight_norm"])


def ratios(layers: pd.DataFrame) -> pd.DataFrame:
    """A line a run, of its last moment: log10 of the gradients' and of the responses' ratio, and
    the gradient norms of the first and the last layer."""
    last = layers[layers["iteration"] == layers.groupby("run")["iteration"].transform("max")]
    by_run = last.sort_values("layer").groupby(["run", *NETWORK])
    first, final = by_run.nth(0).set_index("run"), by_run.nth(-1).set_index("run")
    at_first, at_last = (ends[NUMBERS].clip(lower=LEAST) for ends in (first, final))
    return first[NETWORK].assign(
        first_norm=first["gradient_norm"],
        last_norm=final["gradient_norm"],
        gradient=np.log10(at_first["gradient_norm"] / at_last["gradient_norm"]),
        signal=np.log10(at_last["response_std"] / at_first["response_std"]),
    )


def words(ratios: pd.DataFrame, column: str, rule: Rule) -> dict[Network, Line]:
    """By network, its word and the numbers behind it."""
    groups = {key: own[column] for key, own in ratios.groupby(NETWORK)}
    effects = [rule.effect(own) for own in groups.values()]
    low, high = (verdict_rules.sides(effects, bound, rule) for bound in (-BOUND, BOUND))
    found = {}
    for (key, own), effect, *sides in zip(groups.items(), effects, low, high, strict=True):
        lost = int(own.isna().sum())
        found[key] = Line(_word(sides, lost > 0), _factor(effect, lost))
    return found


def _word(sides: list[str], lost: bool) -> str:
    """The word for the sides of the lower and of the upper bound; `lost`: some ratio is NaN."""
    if sides[0] == verdict_rules.BELOW:
        return VANISHING
    if sides[1] == verdict_rules.ABOVE:
        return EXPLODING
    inside = sides == [verdict_rules.ABOVE, verdict_rules.BELOW]
    return HEALTHY if inside and not lost else verdict_rules.UNDECIDED


def _factor(effect: Effect, lost: int) -> str:
    """`×0.12 [0.1, 0.15] n=5`: an effect in decades as a factor."""
    factor = f"×{10**effect.mean:.2g}" if effect.n else "–"
    if effect.n > 1:
        factor += f" [{10**effect.low:.2g}, {10**effect.high:.2g}]"
    return f"{factor} n={effect.n}" + (f", not a number in {lost} more" if lost else "")


def _lines(ratios: pd.DataFrame, moment: str, rule: Rule) -> Iterator[Line]:
    gradients, signals = (words(ratios, column, rule) for column in ("gradient", "signal"))
    yield from _claims(gradients, signals, moment)
    norms = ratios.groupby(NETWORK)[["first_norm", "last_norm"]].median()
    for (key, line), (first, last) in zip(gradients.items(), norms.to_numpy(), strict=True):
        text = f"gradients of {_name(key)}, {moment}: first layer {line.text} of the last"
        yield Line(line.word, f"{text} (norms {first:.2g} and {last:.2g}, medians)")
    for key, line in signals.items():
        text = f"signals of {_name(key)}, {moment}: last response {line.text} of the first"
        yield Line(line.word, text)


def _claims(
    gradients: dict[Network, Line], signals: dict[Network, Line], moment: str
) -> Iterator[Line]:
    """What the paper says of plain nets with batch normalization."""
    backward, forward = (
        [line.word for (norm, arm, _), line in found.items() if norm and arm == "plain"]
        for found in (gradients, signals)
    )
    quotes: dict[str, tuple[list[str], set[str]]] = {
        "“unlikely to be caused by vanishing gradients”": (backward, {VANISHING}),
        "“healthy norms with BN”": (backward, {VANISHING, EXPLODING}),
        "“non-zero variances” of signals with BN": (forward, {VANISHING}),
    }
    for quote, (found, against) in quotes.items() if backward else ():
        word = "undecided" if verdict_rules.UNDECIDED in found else "reproduced"
        word = "contradicted" if against & {*found} else word
        yield Line(word, f"the paper's {quote}, plain nets, {moment}")


def _name(network: Network) -> str:
    norm, arm, depth = network
    return f"{arm}-{depth}{'' if norm else ' without BN'}"


def at_start(layers: pd.DataFrame, style: Style) -> Figure:
    """Gradient norm, its ratio to the weights' and responses by layer; with and without BN."""
    seeds = layers.groupby(NETWORK)["seed"].transform("nunique")
    network = layers["arm"] + "-" + layers["depth"].astype(str)
    layers = layers.assign(network=network + " (n=" + seeds.astype(str) + ")")
    columns = sorted(layers.groupby("norm"), key=lambda group: not group[0])
    size = (style.panel[0], 0.77 * style.panel[1])
    with subplots(style, len(columns), rows=3, size=size, sharex=True) as (figure, axes):
        for column, (norm, own) in zip(axes.T, columns, strict=True):
            lines = network_lines(own, style)
            _by_layer(column, own, hue="network", style="network", **lines)
            column[0].set_title("with batch normalization" if norm else "without")
        axes[0][0].legend(fontsize="x-small")
        footnote(figure, f"before the first step; {MEAN}")
    return figure


def along(layers: pd.DataFrame, style: Style) -> Figure:
    """Gradient norm, its ratio to the weights' and responses by layer, a colour a moment."""
    networks = layers.groupby(["arm", "depth"])
    size = (0.8 * style.panel[0], 0.77 * style.panel[1])
    shared = {"sharey": "row", "sharex": "col"}
    with subplots(style, len(networks), rows=3, size=size, **shared) as (figure, axes):
        for column, ((arm, depth), own) in zip(axes.T, networks, strict=True):
            _by_layer(column, own, hue="iteration", palette="viridis", legend="full")
            column[0].set_title(f"{arm}-{depth} (n={own['seed'].nunique()})")
        axes[-1][0].legend(title="iteration", fontsize="x-small", ncols=2)
        footnote(figure, f"on one batch, the same each time; {MEAN}")
    return figure


def _by_layer(column: list[Axes], layers: pd.DataFrame, **lines: Any) -> None:
    """LABELS by layer, one below the other: the seeds' geometric mean and their range."""
    for axis, (quantity, label) in zip(column, LABELS.items(), strict=True):
        axis.set_yscale("log")  # seaborn averages on the axis' scale
        values = layers.assign(value=layers[quantity].clip(lower=LEAST))
        band = {"errorbar": ("pi", 100), "err_kws": {"alpha": 0.15, "linewidth": 0}}
        sns.lineplot(values, x="layer", y="value", ax=axis, linewidth=1.2, **band, **lines)
        remove_legend(axis)
        # Where all layers have the same, the axis is not to show the noise of it.
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, high / 4), max(high, low * 4))
        axis.set(xlabel="layer", ylabel=label)
