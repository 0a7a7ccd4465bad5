"""What a chart of the page is made of: data in, and what `report/charts.js` draws out.

A line holds the numbers, once; panels show columns of lines. So the readout of a point can name all
that its run had there, and the test error of a run lies in the page once, however many figures
show it.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SINGLE = 300  # runs

Values = list[float | None]
Colours = tuple[str, str]  # on the light page, on the dark one


@dataclass(frozen=True)
class Line:
    """A run's numbers, a mean's, or a dot each for several runs."""

    name: str
    x: Values
    y: Mapping[str, Values]
    """By column."""
    half: Mapping[str, Values] = field(default_factory=dict)
    """Half of the 95 % t interval."""
    low: Mapping[str, Values] = field(default_factory=dict)
    high: Mapping[str, Values] = field(default_factory=dict)
    """The lowest and highest seed, where single seeds are not shown."""
    n: tuple[int, ...] = ()
    """Runs behind each point of a mean."""
    names: tuple[str, ...] = ()
    """What each dot is."""
    note: str = ""
    """The run's state, where it isn't done."""


@dataclass(frozen=True)
class Series:
    """One column of a line, as a panel draws it."""

    line: int
    column: str
    colour: Colours
    tags: tuple[str, ...]
    """The legend's entries that show and hide it."""
    kind: str = "mean"
    """seed, mean, paper, dots, joined (a mean with dots) or diamonds."""
    dashed: bool = False
    end: str = ""
    """dot: not finished; cross: diverged."""
    aside: float = 1.0
    """Factor of x, so that neither arm hides the other."""


@dataclass(frozen=True)
class Axis:
    label: str
    low: float
    high: float
    ticks: tuple[float, ...] = ()
    """Empty: round numbers."""
    log: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    """What is not in the frame, or not trained."""
    zero: bool = False
    """Whether a line marks zero."""


@dataclass(frozen=True)
class Entry:
    """One of the legend's switches."""

    tag: str
    colour: Colours | None = None
    dashed: bool = False
    mark: str = "line"
    """line, thin, faint, dot or diamond."""


@dataclass(frozen=True)
class Chart:
    """A figure of the page."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[Entry, ...]
    linked: bool = False
    """Whether a zoom of one panel zooms them all."""


@dataclass
class Sheet:
    """The lines of one study; charts number them."""

    lines: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> int:
        self.lines.append(line)
        return len(self.lines) - 1


def shows_seeds(runs: int) -> bool:
    """Whether a study of so many runs shows each; beyond SINGLE, means and ranges say more."""
    return runs <= SINGLE


def values(numbers: Iterable[Any], digits: int = 4) -> Values:
    """Numbers for JSON: rounded, None for what is none."""
    return [round(float(v), digits) if math.isfinite(v) else None for v in numbers]


def packed(value: Any) -> Any:
    """A dataclass of this module as what JSON can say, without what is at its default."""
    if dataclasses.is_dataclass(value):
        items = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: packed(item) for f, item in items if item != _default(f)}
    if isinstance(value, Mapping):
        return {key: packed(item) for key, item in value.items()}
    return [packed(item) for item in value] if isinstance(value, list | tuple) else value


def _default(own: "dataclasses.Field[Any]") -> Any:
    made = own.default_factory
    return own.default if made is dataclasses.MISSING else made()
