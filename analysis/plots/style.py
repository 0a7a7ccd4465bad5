"""How figures look: `paper`, as in He et al. (2015), or `modern`, for a column of a new one.

modern: the colour-blind safe palette of Okabe and Ito, names at the curves' ends instead of
legends, and a 95 % t band around a mean of three seeds or more (Student's t: over five seeds a
bootstrap band of nominal 95 % covers 85 %).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]  # keywords of a matplotlib line


@dataclass(frozen=True)
class Look:
    """A style; sizes in inches and points."""

    name: str
    depths: Mapping[int, str]
    """Colours of the paper's depths."""
    others: tuple[str, ...]
    """For the depths that it doesn't show."""
    arms: Mapping[str, str]
    train: Line
    test: Line
    direct_labels: bool
    bands: bool
    panel: tuple[float, float]
    """Width and height of a panel."""
    settings: dict[Any, Any]
    """matplotlib's."""

    def colour(self, depth: int) -> str:
        return self.depths.get(depth) or self.others[depth // 6 % len(self.others)]


_COMMON = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "grid.linewidth": 0.6, "legend.frameon": False, "figure.dpi": 150,
}  # fmt: skip

PAPER = Look(
    name="paper",
    depths={18: "#00a9b5", 20: "#8a8a00", 32: "#00a9b5", 34: "#d62728", 44: "#0a8f2f",
            56: "#d62728", 110: "#111111", 1202: "#d000d0"},
    others=("#1f5fbf", "#e08a00", "#7a5230", "#6a4fb3", "#5a6b7b"),
    arms={"plain": "#d62728", "residual": "#1f5fbf"},
    train={"linestyle": (0, (4, 2)), "linewidth": 1.1},
    test={"linestyle": "-", "linewidth": 2.0},
    direct_labels=False,
    bands=False,
    panel=(3.6, 3.1),
    settings=_COMMON | {"font.size": 9, "axes.titlesize": 9, "legend.fontsize": 8},
)  # fmt: skip

# Okabe & Ito (2008), "Color Universal Design"; its yellow is too light for a line.
_ORANGE, _SKY, _GREEN, _BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
_VERMILION, _PURPLE, _BLACK = "#D55E00", "#CC79A7", "#000000"

MODERN = Look(
    name="modern",
    depths={18: _SKY, 20: _ORANGE, 32: _SKY, 34: _VERMILION, 44: _GREEN, 56: _VERMILION,
            110: _BLUE, 1202: _PURPLE},
    others=(_BLACK, "#666666", "#8c6d31", "#4a6b3a", "#5a4a78"),
    arms={"plain": _VERMILION, "residual": _BLUE},
    train={"linestyle": (0, (3, 1.5)), "linewidth": 1.0},
    test={"linestyle": "-", "linewidth": 1.8},
    direct_labels=True,
    bands=True,
    panel=(3.4, 2.7),
    settings=_COMMON | {"font.size": 8, "axes.titlesize": 8, "axes.titleweight": "bold",
                        "axes.titlelocation": "left", "legend.fontsize": 7.5},
)  # fmt: skip

LOOKS = {look.name: look for look in (PAPER, MODERN)}
