"""How figures look: `paper`, as in He et al. (2015), or `modern`, for a column of a new paper.

modern: the colour-blind safe palette of Okabe and Ito, and a 95 % t interval around a mean of three
seeds or more.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

DASHED, SOLID = (4, 2), ""
"""seaborn's `dashes`: on and off in line widths, and an unbroken line."""
REFERENCE = {"linewidth": 0.9, "alpha": 0.3}
"""The line of a curve that is the paper's own."""
SEED = {"linewidth": 0.6, "alpha": 0.4}
"""The line of one seed beside others."""


@dataclass(frozen=True)
class Style:
    """Colours and sizes of figures; sizes in inches and points."""

    name: str
    depths: Mapping[int, str]
    """Colours of the paper's depths."""
    others: tuple[str, ...]
    """Colours of all other depths."""
    arms: Mapping[str, str]
    widths: Mapping[str, float]
    """Line widths by quantity."""
    bands: bool
    """Whether curves over training show the t interval of their mean."""
    panel: tuple[float, float]
    """Width and height of a panel."""
    settings: dict[Any, Any]
    """matplotlib's."""

    def colour(self, depth: int) -> str:
        return self.depths.get(depth) or self.others[depth // 6 % len(self.others)]


@contextmanager
def subplots(
    style: Style,
    columns: int,
    rows: int = 1,
    size: tuple[float, float] | None = None,
    **shared: Any,
) -> Iterator[tuple[Figure, NDArray[Any]]]:
    """A figure and its axes, rows by columns, in a style's settings; `size`: of a panel."""
    width, height = size or style.panel
    with matplotlib.rc_context(style.settings):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, **shared)


def footnote(figure: Figure, text: str) -> None:
    """What lines, dots and bars mean, at the lower right."""
    wrapped = fill(text, round(15 * figure.get_figwidth()))
    figure.supxlabel(wrapped, fontsize="small", x=0.99, ha="right")


def zero_line(axis: Axes) -> None:
    axis.axhline(0, color="0.4", linewidth=0.8)


def remove_legend(axis: Axes) -> None:
    """Remove the legend that seaborn gives every panel: one panel of a figure keeps it."""
    if legend := axis.get_legend():
        legend.remove()


_COMMON = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.dpi": 150,
}

_DEPTHS = (18, 20, 32, 34, 44, 56, 110, 1202)

_CYAN, _OLIVE, _RED, _LEAF = "#00a9b5", "#8a8a00", "#d62728", "#0a8f2f"
_INK, _MAGENTA = "#111111", "#d000d0"
_OF_THE_PAPER = (_CYAN, _OLIVE, _CYAN, _RED, _LEAF, _RED, _INK, _MAGENTA)
PAPER = Style(
    name="paper",
    depths=dict(zip(_DEPTHS, _OF_THE_PAPER, strict=True)),
    others=("#1f5fbf", "#e08a00", "#7a5230", "#6a4fb3", "#5a6b7b"),
    arms={"plain": _RED, "residual": "#1f5fbf"},
    widths={"train_error": 1.1, "test_error": 2.0},
    bands=False,
    panel=(3.6, 3.1),
    settings=_COMMON | {"font.size": 9, "axes.titlesize": 9, "legend.fontsize": 8},
)

# Okabe & Ito (2008), "Color Universal Design"; its yellow is too light for a line.
_ORANGE, _SKY, _GREEN, _BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
_VERMILION, _PURPLE, _BLACK = "#D55E00", "#CC79A7", "#000000"
_OKABE_ITO = (_SKY, _ORANGE, _SKY, _VERMILION, _GREEN, _VERMILION, _BLUE, _PURPLE)
_TITLES = {"axes.titlesize": 8, "axes.titleweight": "bold", "axes.titlelocation": "left"}
MODERN = Style(
    name="modern",
    depths=dict(zip(_DEPTHS, _OKABE_ITO, strict=True)),
    others=(_BLACK, "#666666", "#8c6d31", "#4a6b3a", "#5a4a78"),
    arms={"plain": _VERMILION, "residual": _BLUE},
    widths={"train_error": 1.0, "test_error": 1.8},
    bands=True,
    panel=(3.4, 2.7),
    settings=_COMMON | _TITLES | {"font.size": 8, "legend.fontsize": 7.5},
)

STYLES = {style.name: style for style in (PAPER, MODERN)}
