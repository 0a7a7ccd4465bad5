"""Figure 7: how strongly each layer responds, plain and residual, in layer order and sorted."""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.plots.style import DASHED, REFERENCE, SOLID, Style, footnote, remove_legend, subplots

# Dashed is plain and solid residual here, as in the paper's Figure 7.
DASHES = {"plain": DASHED, "residual": SOLID}
PAPER = ("plain-20", "plain-56", "residual-20", "residual-56", "residual-110")


def figure7(study: Study, style: Style) -> Figure:
    """Standard deviation of each 3×3 layer's response; top: layer order, bottom: descending."""
    ours = ranked(frames.responses(study))
    size = (1.5 * style.panel[0], 0.85 * style.panel[1])
    with subplots(style, 1, rows=2, size=size) as (figure, axes):
        for axis, x in zip(axes[:, 0], ("layer", "rank"), strict=True):
            drawing: dict[str, Any] = {"x": x, "y": "response_std", "ax": axis, "errorbar": None}
            drawing |= {"hue": "network", "style": "network"}
            if study.as_the_paper:
                theirs = papers_responses()
                look = network_lines(theirs, style) | REFERENCE
                sns.lineplot(theirs, **drawing, **look, legend=False)
            sns.lineplot(ours, **drawing, **network_lines(ours, style), linewidth=1.4)
            axis.set_ylabel("std")
            axis.set_ylim(bottom=0)
            axis.margins(x=0.01)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0][0].set_xlabel("layer index (original)")
        axes[1][0].set_xlabel("layer index (sorted by magnitude)")
        remove_legend(axes[1][0])
        axes[0][0].legend(ncols=2)
        pale = "; pale: the paper's" if study.as_the_paper else ""
        footnote(figure, f"mean of the seeds; dashed: plain, solid: residual{pale}")
    return figure


def papers_responses() -> pd.DataFrame:
    """The paper's networks, in the columns of `ranked`."""
    curves = frames.paper_curves()
    own = curves[(curves["figure"] == "fig7") & curves["network"].isin(PAPER)]
    own = own.sort_values(["network", "x"]).rename(columns={"value": "response_std"})
    return ranked(own.assign(layer=own.groupby("network").cumcount() + 1))


def ranked(layers: pd.DataFrame) -> pd.DataFrame:
    """network, arm, depth, layer, response_std (mean of the seeds), rank (1: the largest)."""
    keys = ["network", "layer"]
    means = layers.groupby(keys, sort=False, as_index=False)[["response_std"]].mean()
    arm_and_depth = means["network"].str.split("-", expand=True)
    means = means.assign(arm=arm_and_depth[0], depth=arm_and_depth[1].astype(int))
    means["rank"] = means.groupby("network")["response_std"].rank(method="first", ascending=False)
    return means


def network_lines(layers: pd.DataFrame, style: Style) -> dict[str, Any]:
    """Colour and dashes by network."""
    networks = layers.drop_duplicates("network").set_index("network")
    return {
        "palette": networks["depth"].map(style.colour).to_dict(),
        "dashes": networks["arm"].map(DASHES).to_dict(),
    }
