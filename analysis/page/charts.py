"""The page's interactive charts, drawn by Plotly: curves, errors against depth, layer responses.

They show the rows of `plot_curves.py`'s figures in the same colours. A pointer reads the seed and
the value of every point, the legend switches networks off and on, and a drag zooms. All text is
made of arms, depths, seeds and states; none of it is read from a run folder.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.plots import curves
from analysis.plots.curves import Panel
from analysis.plots.depth import ASIDE
from analysis.plots.layer_responses import ranked
from analysis.plots.style import MODERN
from analysis.stats import inference
from degradation.runs.columns import ERRORS

Charts = dict[str, go.Figure]
"""Charts by their title."""
DASH = {"train_error": "dash", "test_error": "solid"}
DASHES = {"plain": "dash", "residual": "solid"}  # of layer responses
PAPER = "the paper"
VALUE = ": %{y:.2f} %<extra></extra>"  # the end of what a pointer shows
BOLD = 2.2  # pixels
WIDTH = {"seed": 0.9, PAPER: 1.2}  # of the lines that are not bold
OPACITY = {"seed": 0.5, PAPER: 0.35}
WHO = {
    "seed": "seed %{customdata}",
    "only": "seed %{customdata}",
    "mean": "mean of %{customdata}",
    PAPER: "the paper's",
}
"""Whose curve a pointer is at, by the kind of the line."""
DOTS = {"mode": "markers", "marker_opacity": 0.45, "showlegend": False}
DIAMONDS = {"mode": "markers", "marker_symbol": "diamond-open", "marker_size": 9}


def curves_over_training(study: Study) -> Charts:
    """The panels of Figure 6, or of Figure 4 on ImageNet, that the study has runs for."""
    charts: Charts = {}
    for title, panel in curves.panels_of(study).items():
        if {*panel.depths_of(study)} & {*study.depths(panel.arm)}:
            x, y = curves.limits(study, panel)
            figure = charts[title] = _curves(_rows(study, panel), y[1])
            figure.update_xaxes(range=[study.scale * end for end in x]).update_yaxes(range=y)
    return charts


def errors_against_depth(study: Study) -> Charts:
    """Final training and test error: a dot a run, a line through the means, t intervals."""
    finals, theirs = frames.last(study.rows), frames.paper_errors()
    theirs = theirs[(theirs["data"] == study.data) & study.as_the_paper]
    charts: Charts = {}
    for quantity in ERRORS if len(finals) else ():
        figure = charts[ERRORS[quantity]] = _figure("depth (layers)", "error (%)")
        paper = theirs[theirs["quantity"] == quantity].rename(columns={"value": quantity})
        depths = sorted({*finals["depth"], *paper["depth"]})
        figure.update_xaxes(type="log", tickvals=depths, ticktext=[str(depth) for depth in depths])
        figure.update_yaxes(rangemode="tozero")
        for arm in MODERN.arms:
            own = finals[finals["arm"] == arm].assign(who="seed " + finals["seed"].astype(str))
            means = _means_by_depth(own, quantity)
            _points(figure, arm, own, quantity, **DOTS)
            _points(figure, arm, means, quantity, error_y={"array": means["half"], "thickness": 1})
            if len(paper):
                own = paper[paper["arm"] == arm].assign(who="the paper's")
                name = {"name": f"{arm}, the paper", "legendgroup": PAPER}
                _points(figure, arm, own, quantity, **DIAMONDS, **name)
    return charts


def layer_responses(study: Study) -> Charts:
    """Figure 7: the standard deviation of each layer's output, in layer order and sorted."""
    layers = frames.responses(study)
    charts: Charts = {}
    if layers.empty:
        return charts
    for title, x in {"in layer order": "layer", "sorted by size": "rank"}.items():
        figure = charts[title] = _figure("layer", "standard deviation")
        figure.update_yaxes(rangemode="tozero")
        ordered = ranked(layers).sort_values(["arm", "depth", x])
        for network, own in ordered.groupby("network", sort=False):
            colour, dash = MODERN.colour(own["depth"].iloc[0]), DASHES[own["arm"].iloc[0]]
            figure.add_scatter(
                x=own[x].astype(int),
                y=own["response_std"],
                name=str(network),
                customdata=own["layer"],
                line={"color": colour, "dash": dash},
                hovertemplate=f"{network}, layer %{{customdata}}: %{{y:.3f}}<extra></extra>",
            )
    return charts


def _figure(x: str, y: str) -> go.Figure:
    """An empty chart on the page's own ground; page.css inverts it on a dark page."""
    clear, ink, rule = "rgba(0,0,0,0)", "#57606a", "#d5dae0"
    axis = {"gridcolor": rule, "zerolinecolor": rule, "linecolor": ink, "automargin": True}
    return go.Figure(
        layout={
            "template": {},
            "height": 360,
            "margin": {"l": 45, "r": 20, "t": 30, "b": 45},
            "paper_bgcolor": clear,
            "plot_bgcolor": clear,
            "modebar": {"bgcolor": clear, "color": ink, "activecolor": "#0b5cad"},
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": ink},
            "hovermode": "closest",
            "showlegend": True,
            "xaxis": {"title": {"text": x, "standoff": 8}, **axis},
            "yaxis": {"title": {"text": y, "standoff": 8}, **axis},
            "legend": {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0},
        }
    )


# ---- curves over training


def _rows(study: Study, panel: Panel) -> pd.DataFrame:
    """What a panel shows: network, depth, quantity, iteration, error, and

    kind    of the line: seed, only (the one seed there is), mean, the paper; or the state of a run
            that is not done, at its end
    who     the seed, or how many runs a mean is of
    """
    depths = panel.depths_of(study)
    rows = curves.long(study, panel.arm, depths, list(ERRORS)).rename(columns={"seed": "who"})
    rows["network"] = f"{panel.arm}-" + rows["depth"].astype(str)
    rows = rows.sort_values(["depth", "quantity", "run", "iteration"], ignore_index=True)
    one = rows.groupby("network")["run"].transform("nunique") == 1
    rows["kind"] = one.map({True: "only", False: "seed"})
    ends = rows.groupby(["quantity", "run"]).tail(1)
    # All seeds of a network are one line, which a value that is none breaks behind each run.
    seeds = pd.concat([rows, ends.assign(error=float("nan"))]).sort_index(kind="stable")
    early = ends[ends["state"] != "done"]
    theirs = curves.reference_curves(panel, depths if study.as_the_paper else [], list(ERRORS))
    theirs = theirs.assign(iteration=1e4 * theirs["x"], kind=PAPER, who=0)
    parts = [theirs, seeds, _means(rows), early.assign(kind=early["state"])]
    return pd.concat([part for part in parts if len(part)])


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean of a network's finished runs, where it has several and all of them have a row."""
    finished = rows[(rows["state"] == "done") & (rows["kind"] == "seed")]
    n = finished.groupby("network")["run"].transform("nunique")
    keys = ["network", "depth", "quantity", "n", "iteration"]
    groups = finished.assign(n=n).groupby(keys, as_index=False)
    means = groups.agg(error=("error", "mean"), who=("run", "size"))
    return means[(means["who"] == means["n"]) & (means["n"] > 1)].assign(kind="mean")


def _curves(rows: pd.DataFrame, top: float) -> go.Figure:
    """The chart of a panel's rows; the legend says of a network how far it ends above `top`."""
    figure = _figure("iteration", "error (%)")
    for keys, own in rows.groupby(["kind", "network", "quantity"], sort=False):
        _curve(figure, own, *map(str, keys))
    ours = rows[rows["kind"].isin(("seed", "only")) & (rows["quantity"] == "test_error")]
    for network, own in ours.groupby("network", sort=False):
        end = own.groupby("run")["error"].last().mean()
        name = f"{network} ↑ {end:.1f} %" if end > top else str(network)
        _legend_entry(figure, str(network), name, MODERN.colour(own["depth"].iloc[0]))
    if PAPER in set(rows["kind"]):
        _legend_entry(figure, PAPER, PAPER, "#a3acb8")
    return figure


def _curve(figure: go.Figure, rows: pd.DataFrame, kind: str, network: str, quantity: str) -> None:
    """Draw the lines of one kind, or the ends of the runs in one state."""
    colour = MODERN.colour(rows["depth"].iloc[0])
    who = WHO.get(kind, f"seed %{{customdata}}, {kind}")
    figure.add_scatter(
        x=rows["iteration"].to_numpy("int32"),
        y=rows["error"].to_numpy("float32"),
        customdata=rows["who"].to_numpy("int32"),
        legendgroup=PAPER if kind == PAPER else network,
        showlegend=False,
        mode="lines" if kind in WHO else "markers",
        line={"color": colour, "dash": DASH[quantity], "width": WIDTH.get(kind, BOLD)},
        marker={"color": colour, "symbol": "x" if kind == "diverged" else "circle"},
        opacity=OPACITY.get(kind, 1),
        hovertemplate=f"{network}, {who}<br>iteration %{{x:,}}, {ERRORS[quantity]}{VALUE}",
    )


def _legend_entry(figure: go.Figure, group: str, name: str, colour: str) -> None:
    """Name a group of curves in the legend, which switches them together."""
    line = {"color": colour, "width": BOLD}
    figure.add_scatter(x=[None], y=[None], mode="lines", name=name, legendgroup=group, line=line)


# ---- errors against depth


def _points(figure: go.Figure, arm: str, rows: pd.DataFrame, quantity: str, **look: Any) -> None:
    """Errors of an arm at their depths; `who` in `rows`: whose they are."""
    colour = MODERN.arms[arm]
    figure.add_scatter(
        x=ASIDE[arm] * rows["depth"],
        y=rows[quantity],
        customdata=rows[["depth", "who"]],
        marker_color=colour,
        line={"color": colour, "width": BOLD},
        hovertemplate=f"{arm}-%{{customdata[0]}}, %{{customdata[1]}}{VALUE}",
        **{"name": arm, "legendgroup": arm, **look},
    )


def _means_by_depth(finals: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The mean of each depth, and half of its t interval from three seeds on."""
    by_depth = finals.groupby("depth")[quantity]
    means = by_depth.mean().reset_index()
    half = [inference.t_interval(errors)[1] - errors.mean() for _, errors in by_depth]
    return means.assign(half=half, who=[f"mean of {n}" for n in by_depth.count()])
