"""Figure 7 on the page: how strongly each layer responds, as in `responses.py`."""

import pandas as pd

from analysis.frames import runs
from analysis.frames.runs import Study
from analysis.page import contrast
from analysis.page.charts import (
    Axis,
    Chart,
    Entry,
    Line,
    Panel,
    Series,
    Sheet,
    values,
)
from analysis.page.curve_charts import GHOST
from analysis.plots.layer_responses import PAPER
from analysis.plots.style import MODERN

CAPTION = """\
standard deviation of each 3×3 layer's output behind the normalisation, before shortcut and ReLU; \
dashed: plain, solid: residual"""


def figure7(study: Study, sheet: Sheet) -> Chart | None:
    """In layer order | sorted; None where no run was probed."""
    found = runs.responses(study)
    if found.empty:
        return None
    ghosts = [(name, own, GHOST) for name, own in _papers(study).items()]
    ours = [(str(network), own.groupby("layer")["response_std"].mean(),
             f"mean of {own['seed'].nunique()}")
            for network, own in found.groupby("network", sort=False)]  # fmt: skip
    drawn = [*ghosts, *ours]
    depth = max(len(std) for _, std, _ in drawn)
    top = max(float(std.max()) for _, std, _ in drawn)
    x, y = Axis("layer", 1, depth), Axis("standard deviation", 0, round(1.05 * top, 4))
    ordered = [_series(sheet, name, list(std), what) for name, std, what in drawn]
    sorted_ = [_series(sheet, name, sorted(std)[::-1], what) for name, std, what in drawn]
    legend = [Entry(tag, s.colour, dashed=s.dashed)
              for tag, s in {s.tags[0]: s for s in ordered}.items()]  # fmt: skip
    legend += [Entry(GHOST, mark="faint")] if ghosts else []
    panels = Panel("in layer order", x, y, tuple(ordered)), Panel("sorted", x, y, tuple(sorted_))
    return Chart("figure7", "Figure 7: layer responses", CAPTION, panels, tuple(legend))


def _papers(study: Study) -> dict[str, "pd.Series[float]"]:
    """The paper's networks, in layer order, where they belong beside the study's."""
    curves = runs.paper_curves()
    theirs = curves[curves["figure"] == "fig7"].sort_values("x")
    names = PAPER if study.as_the_paper else ()
    return {name: theirs[theirs["network"] == name]["value"] for name in names}


def _series(sheet: Sheet, network: str, std: list[float], what: str) -> Series:
    arm, depth = network.split("-")
    layers = values(range(1, len(std) + 1))
    line = sheet.add(Line(f"{network}, {what}", layers, {"std": values(std)}))
    kind, tags = ("paper", (network, GHOST)) if what == GHOST else ("mean", (network,))
    colour = contrast.on_both(MODERN.colour(int(depth)))
    return Series(line, "std", colour, tags, kind, dashed=arm == "plain")
