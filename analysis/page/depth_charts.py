"""The page's charts against depth: those of `depth_figures.py`, for `report/charts.js`."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.page import contrast
from analysis.page.charts import (
    Axis,
    Chart,
    Colours,
    Entry,
    Line,
    Panel,
    Series,
    Sheet,
    shows_seeds,
    values,
)
from analysis.plots import depth as depth_figures
from analysis.plots.curves import BAND_SEEDS, LABELS
from analysis.plots.depth import ASIDE, REACHED
from analysis.plots.style import MODERN
from analysis.stats import inference

ARMS = tuple(MODERN.arms)
GAP = "plain − residual"
SEEDS, GHOST = "seeds", "the paper's"
ROOM = 1.18  # beside the outer depths, a factor
CAPTION = "a dot a run, a line through the means; bars: 95 % t interval from three seeds on"
RANGES = "wide bars: the range of the runs, which are too many to show each"


def charts(study: Study, sheet: Sheet) -> list[Chart]:
    """Those that the study has the rows for."""
    finals = frames.last(study.rows)
    drawn = [errors(study, finals, sheet), gap(study, sheet), generalisation(finals, sheet),
             speed(study, sheet), cost(study, sheet)]  # fmt: skip
    return [chart for chart in drawn if any(panel.series for panel in chart.panels)]


def errors(study: Study, finals: pd.DataFrame, sheet: Sheet) -> Chart:
    """Final training | test error."""
    panels = []
    for quantity, label in LABELS.items():
        series = [s for arm in ARMS for s in _arm(finals, arm, quantity, sheet)]
        theirs = _paper(study, quantity, sheet)
        panels.append(_panel(label.replace(" (%)", ""), "error (%)", [*theirs, *series], sheet))
    caption = f"{CAPTION}; diamonds: the paper's" if study.as_the_paper else CAPTION
    return _chart("depth", "Final error against depth", caption, panels, sheet)


def gap(study: Study, sheet: Sheet) -> Chart:
    """Plain − residual, paired by seed."""
    own = depth_figures.gaps(study).assign(arm=GAP)
    own["run"] = "pair of seed " + own["seed"].astype(str)
    panels = []
    for quantity, label in LABELS.items():
        column = quantity.replace("error", "gap")
        renamed = own.rename(columns={quantity: column})
        series = list(_arm(renamed, GAP, column, sheet))
        panels.append(_panel(label.replace(" (%)", ""), "points", series, sheet, zero=True))
    caption = f"matched by seed; {CAPTION.replace('a run', 'a pair')}"
    return _chart("gap", "What shortcuts are worth", caption, panels, sheet)


def generalisation(finals: pd.DataFrame, sheet: Sheet) -> Chart:
    own = finals.assign(difference=finals["test_error"] - finals["train_error"])
    series = [s for arm in ARMS for s in _arm(own, arm, "difference", sheet)]
    panel = _panel("test − training error", "points", series, sheet, zero=True)
    return _chart("generalisation", "Overfitting against depth", CAPTION, [panel], sheet)


def speed(study: Study, sheet: Sheet) -> Chart:
    """The first row below given training errors; those that no run got below are named."""
    panels, caption = [], CAPTION
    for error in REACHED:
        first = frames.first_below(study.rows, error)
        got = first.dropna(subset="iteration")
        series = [s for arm in ARMS for s in _arm(got, arm, "iteration", sheet)]
        title = f"first row below {error} % training error"
        if series:
            panels.append(_panel(title, "iteration", series, sheet, notes=_never(first)))
        else:
            caption += f"; no run got below {error} %"
    return _chart("speed", "How soon they learn", caption, panels, sheet)


def cost(study: Study, sheet: Sheet) -> Chart:
    """Time an iteration | a point, as these runs measured them."""
    timing = frames.timing(study)
    seconds = timing["seconds"].max() if len(timing) else 0
    unit, factor = next(
        ((u, f) for u, f in (("hours", 3600), ("minutes", 60)) if seconds >= f), ("seconds", 1)
    )
    runs = timing.assign(run=[f"{t.arm}-{t.depth}, seed {t.seed}" for t in timing.itertuples()])
    runs[unit] = runs["seconds"] / factor
    panels = []
    for column, title in (("milliseconds", "an iteration"), (unit, "a point")):
        series = [s for arm in ARMS for s in _arm(runs, arm, column, sheet)]
        panels.append(_panel(title, column, series, sheet))
    devices = ", ".join(sorted(timing["device"].dropna().unique()))
    return _chart("cost", "Time", f"on {devices or 'an unknown device'}; {CAPTION}", panels, sheet)


def _arm(runs: pd.DataFrame, arm: str, column: str, sheet: Sheet) -> Iterator[Series]:
    """A dot a run, and the mean of each depth with its t interval."""
    own = runs[runs["arm"] == arm].sort_values(["depth", "seed"])
    if own.empty:
        return
    colour, aside, single = _colour(arm), ASIDE.get(arm, 1.0), shows_seeds(len(runs))
    if single:
        y = {column: values(own[column])}
        dots = Line(arm, values(own["depth"]), y, names=tuple(own["run"]))
        yield Series(sheet.add(dots), column, colour, (arm, SEEDS), "dots", aside=aside)
    stats = own.groupby("depth")[column].agg(["mean", "std", "count", "min", "max"])
    half = [inference.half_width(float(s), int(n)) if n >= BAND_SEEDS else math.nan
            for s, n in zip(stats["std"], stats["count"], strict=True)]  # fmt: skip
    low, high = ({} if single else {column: values(stats[end])} for end in ("min", "max"))
    means = Line(f"{arm}: mean", values(stats.index), {column: values(stats["mean"])},
                 {column: values(half)}, low, high, tuple(map(int, stats["count"])))  # fmt: skip
    yield Series(sheet.add(means), column, colour, (arm,), "joined", aside=aside)


def _paper(study: Study, quantity: str, sheet: Sheet) -> Iterator[Series]:
    """The paper's errors, where it trained on this data for as long."""
    errors = frames.paper_errors()
    theirs = errors[(errors["quantity"] == quantity) & (errors["data"] == study.data)]
    for arm in ARMS if study.as_the_paper else ():
        own = theirs[theirs["arm"] == arm].sort_values("depth")
        names = tuple(f"{arm} in the paper: {source}" for source in own["source"])
        line = Line(arm, values(own["depth"]), {quantity: values(own["value"])}, names=names)
        yield Series(sheet.add(line), quantity, _colour(arm), (arm, GHOST), "diamonds",
                     aside=ASIDE[arm])  # fmt: skip


def _colour(arm: str) -> Colours:
    return contrast.on_both(MODERN.arms.get(arm, "#555555"))


def _never(first: pd.DataFrame) -> list[str]:
    """How many seeds of each network did not get there."""
    missed = first.assign(never=first["iteration"].isna()).groupby(["arm", "depth"])["never"]
    return [f"{arm}-{depth} never: {int(own.sum())} of {len(own)}"
            for (arm, depth), own in missed if own.any()]  # fmt: skip


def _panel(
    title: str, unit: str, series: Sequence[Series], sheet: Sheet,
    notes: Iterable[str] = (), zero: bool = False,
) -> Panel:  # fmt: skip
    depths = sorted({x for s in series for x in sheet.lines[s.line].x if x is not None})
    room = ROOM if len(depths) > 1 else 2.0
    ends = (depths[0] / room, depths[-1] * room) if depths else (1, 10)
    low, high = _extent(series, sheet, zero)
    x = Axis("depth (layers)", ends[0], ends[1], ticks=tuple(depths), log=True)
    return Panel(title, x, Axis(unit, low, high), tuple(series), tuple(notes), zero)


def _extent(series: Sequence[Series], sheet: Sheet, zero: bool) -> tuple[float, float]:
    """From 0, or the lowest where `zero` is a level among others, to above the highest."""
    tips: list[float] = [0.0]
    for s in series:
        line = sheet.lines[s.line]
        halves = line.half.get(s.column) or [None] * len(line.x)
        for value, half in zip(line.y[s.column], halves, strict=True):
            if value is not None:
                tips += [value - (half or 0) if zero else value, value + (half or 0)]
        for end in (line.low, line.high):
            tips += [value for value in end.get(s.column, ()) if value is not None]
    low, high = min(tips), max(tips)
    room = 0.06 * (high - low or 1)
    return round(low - room if low < 0 else low, 4), round(high + room, 4)


def _chart(name: str, title: str, caption: str, panels: Sequence[Panel], sheet: Sheet) -> Chart:
    used = [series for panel in panels for series in panel.series]
    arms: Mapping[str, Colours] = {s.tags[0]: s.colour for s in used}
    kinds = {tag for s in used for tag in s.tags[1:]}
    if any(sheet.lines[s.line].low for s in used):
        caption = f"{re.sub('a dot a (run|pair), ', '', caption)}; {RANGES}"
    words = [Entry(SEEDS, mark="dot"), Entry(GHOST, mark="diamond")]
    legend = [*(Entry(arm, colour) for arm, colour in arms.items()),
              *(entry for entry in words if entry.tag in kinds)]  # fmt: skip
    return Chart(name, title, caption, tuple(panels), tuple(legend))
