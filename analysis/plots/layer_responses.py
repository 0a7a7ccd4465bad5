"""Figure 7: how strongly each layer responds, plain and residual, in layer order and sorted."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import Series

from analysis.frames import runs
from analysis.frames.runs import Study
from analysis.plots.style import Line, Look

# Dashed is plain and solid residual here, as in the paper's Figure 7.
LINES: dict[str, Line] = {"plain": {"linestyle": (0, (4, 2))}, "residual": {"linestyle": "-"}}
PAPER = ("plain-20", "plain-56", "residual-20", "residual-56", "residual-110")


def figure7(study: Study, look: Look) -> Figure:
    """Standard deviation of each 3×3 layer's response; top: layer order, bottom: descending."""
    ours = runs.responses(study)
    width, height = look.panel
    with matplotlib.rc_context(look.settings):
        figure = Figure(figsize=(1.5 * width, 1.7 * height), layout="constrained")
        ordered, descending = figure.subplots(2, 1)
        if study.as_the_paper:
            theirs = runs.paper_curves()
            theirs = theirs[theirs["figure"] == "fig7"]
            for name in PAPER:
                own = theirs[theirs["network"] == name].sort_values("x")["value"]
                _pair(ordered, descending, own, name, look, ghost=True)
        for network, layers in ours.groupby("network", sort=False):
            mean = layers.groupby("layer")["response_std"].mean()
            _pair(ordered, descending, mean, str(network), look, ghost=False)
        ordered.set_xlabel("layer index (original)")
        descending.set_xlabel("layer index (sorted by magnitude)")
        for axis in (ordered, descending):
            axis.set_ylabel("std")
            axis.set_ylim(bottom=0)
            axis.margins(x=0.01)
        ordered.legend(ncols=2)
    return figure


def _pair(
    ordered: Axes, descending: Axes, values: Series, network: str, look: Look, ghost: bool
) -> None:
    arm, depth = network.split("-")
    strength = {"linewidth": 0.9, "alpha": 0.3} if ghost else {"linewidth": 1.4}
    line: Line = {**LINES[arm], **strength, "color": look.colour(int(depth))}
    layers = range(1, len(values) + 1)
    ordered.plot(layers, list(values), **line, label=None if ghost else network)
    descending.plot(layers, sorted(values, reverse=True), **line)
