"""The page's curves over training: those of `figures.py`, for `report/charts.js`.

Thin is a single seed, strong the mean of the finished runs, as in the table (while none is
finished, of all, as far as all have come), with its t interval from three seeds on. A study of too
many runs (`charts.SINGLE`) shows no single seeds but the range they span.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

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
from analysis.plots import curves as figures
from analysis.plots.curves import BAND_SEEDS, LABELS, Frame
from analysis.plots.style import MODERN
from analysis.stats import inference

QUANTITIES = tuple(LABELS)
WORDS = {"train_error": "training", "test_error": "test"}
ENDS = {"done": "", "diverged": "cross"}
GHOST = "the paper's"
FIGURE6_FRAMES = (figures.CIFAR, figures.CIFAR, figures.OVERFITTING)


class Curves:
    """The curves of one study: its lines on the sheet, by network."""

    def __init__(self, study: Study, sheet: Sheet) -> None:
        self.study, self.sheet = study, sheet
        self.single = shows_seeds(study.rows["run"].nunique())
        self.rows: dict[tuple[str, int], pd.DataFrame] = {
            (own["arm"].iloc[0], int(own["depth"].iloc[0])): own
            for _, own in study.rows.groupby(["arm", "depth"])
        }
        self.drawn: dict[tuple[str, int], list[Series]] = {}
        self.ghosts: dict[tuple[str, str, str], int] = {}

    def network(self, arm: str, depth: int) -> list[Series]:
        """Each seed's curve and the mean, of every quantity."""
        if (arm, depth) not in self.drawn:
            self.drawn[arm, depth] = list(self._series(arm, depth))
        return self.drawn[arm, depth]

    def _series(self, arm: str, depth: int) -> Iterator[Series]:
        own = self.rows[arm, depth]
        runs = own["run"].nunique()
        network, colour = f"{arm}-{depth}", colour_of(depth)
        if self.single or runs == 1:
            for _, run in own.groupby("run", sort=False):
                line, end = self.sheet.add(of_run(run)), ENDS.get(run["state"].iloc[0], "dot")
                kind, tags = ("seed", ["seeds"]) if runs > 1 else ("mean", [])
                yield from _both(line, colour, (network, *tags), kind, end)
        if runs > 1:
            line = self.sheet.add(mean(own, network, ranged=not self.single))
            yield from _both(line, colour, (network,), "mean")

    def ghost(self, panel: figures.Panel, depth: int) -> list[Series]:
        """The paper's own curves of a network."""
        network = f"{panel.arm}-{depth}"
        key = panel.figure, panel.panel, network
        if key not in self.ghosts:
            self.ghosts[key] = self.sheet.add(of_paper(*key))
        there = self.sheet.lines[self.ghosts[key]].y
        every = _both(self.ghosts[key], colour_of(depth), (network, GHOST), "paper")
        return [series for series in every if series.column in there]


def colour_of(depth: int) -> Colours:
    return contrast.on_both(MODERN.colour(depth))


def _both(
    line: int, colour: Colours, tags: tuple[str, ...], kind: str, end: str = ""
) -> list[Series]:
    return [Series(line, quantity, colour, (*tags, WORDS[quantity]), kind,
                   quantity == "train_error", end) for quantity in QUANTITIES]  # fmt: skip


def of_run(rows: pd.DataFrame) -> Line:
    """A run's curves."""
    state = str(rows["state"].iloc[0])
    y = {quantity: values(rows[quantity]) for quantity in QUANTITIES}
    note = "" if state == "done" else state
    return Line(str(rows["run"].iloc[0]), values(rows["iteration"]), y, note=note)


def mean(own: pd.DataFrame, network: str, ranged: bool) -> Line:
    """The mean of a network's runs where all of them have a row."""
    finished = own[own["state"] == "done"]
    used, word = (own, "unfinished") if finished.empty else (finished, "finished")
    n = used["run"].nunique()
    wide = used.pivot_table(index="iteration", columns="run", values=list(QUANTITIES)).dropna()
    by_run = {q: pd.DataFrame(wide[q]) for q in QUANTITIES}
    return Line(
        f"{network}: mean of {n} {word}", values(wide.index),
        {q: values(own.mean(axis=1)) for q, own in by_run.items()},
        {q: values(inference.half_width(own.std(axis=1), n)) for q, own in by_run.items()
         if n >= BAND_SEEDS},
        {q: values(own.min(axis=1)) for q, own in by_run.items() if ranged},
        {q: values(own.max(axis=1)) for q, own in by_run.items() if ranged},
    )  # fmt: skip


def of_paper(figure: str, panel: str, network: str) -> Line:
    """The paper's curve, where it measured both errors at the same iterations or not."""
    curves = frames.paper_curves().replace("val_error_center_crop", "test_error")
    own = curves[(curves["figure"] == figure) & (curves["panel"] == panel)
                 & (curves["network"] == network)]  # fmt: skip
    wide = own.pivot_table(index="x", columns="quantity", values="value")
    y = {quantity: values(wide[quantity]) for quantity in QUANTITIES if quantity in wide}
    return Line(f"{network} in the paper", values(wide.index), y)


def charts(study: Study, sheet: Sheet) -> list[Chart]:
    """The study's curves, the headline first."""
    curves = Curves(study, sheet)
    if study.data == "imagenet":
        return [figure4(curves)]
    return [figure6(curves), figure1(curves)]


def figure6(curves: Curves) -> Chart:
    """plain | residual | the two deepest residual nets, where they aren't the same again."""
    shown = dict(zip(figures.FIGURE6.items(), FIGURE6_FRAMES, strict=True))
    panels = [_panel(curves, title, panel, frame) for (title, panel), frame in shown.items()
              if panel.deepest is None or _adds(panel, curves.study)]  # fmt: skip
    return _chart(curves, "figure6", "Figure 6: the arms over training", panels)


def figure4(curves: Curves) -> Chart:
    panels = [_panel(curves, title, panel, figures.IMAGENET)
              for title, panel in figures.FIGURE4.items()]  # fmt: skip
    return _chart(curves, "figure4", "Figure 4: the arms over training", panels)


def figure1(curves: Curves) -> Chart:
    """training | test error of the shallowest and the deepest plain net."""
    depths = figures.FIGURE1.depths_of(curves.study)
    ends = sorted({depths[0], depths[-1]}) if depths else []
    panels = [
        _panel(curves, f"plain, {WORDS[quantity]} error", figures.FIGURE1, figures.CIFAR,
               ends, (quantity,))
        for quantity in QUANTITIES
    ]  # fmt: skip
    solid = [dataclasses.replace(p, series=tuple(dataclasses.replace(s, dashed=False)
                                                 for s in p.series)) for p in panels]  # fmt: skip
    return _chart(curves, "figure1", "Figure 1: a deep plain network trains worse", solid)


def _adds(panel: figures.Panel, study: Study) -> bool:
    """Whether the panel shows other networks than the arm's own panel, and has some."""
    whole, there = figures.FIGURE6[panel.arm].depths_of(study), study.depths(panel.arm)
    own = panel.depths_of(study)
    return set(own) != set(whole) and bool({*own} & {*there})


def _panel(
    curves: Curves, title: str, panel: figures.Panel, limits: Frame,
    depths: Sequence[int] | None = None, quantities: Sequence[str] = QUANTITIES,
) -> Panel:  # fmt: skip
    study = curves.study
    shown = panel.depths_of(study) if depths is None else depths
    there = [depth for depth in shown if (panel.arm, depth) in curves.rows]
    ghosts = [s for d in shown for s in curves.ghost(panel, d)] if study.as_the_paper else []
    ours = [s for depth in there for s in curves.network(panel.arm, depth)]
    below = ("paper", "seed", "mean")  # the strong curves come last, above the others
    drawn = sorted([*ghosts, *ours], key=lambda series: below.index(series.kind))
    x, y = _axes(study, limits)
    return Panel(
        title, x, y, tuple(series for series in drawn if series.column in quantities),
        tuple(_notes(curves, panel.arm, shown, y.high, quantities[-1])),
    )  # fmt: skip


def _axes(study: Study, limits: Frame) -> tuple[Axis, Axis]:
    """The paper's frame where its curves are; elsewhere one that suits the rows."""
    if study.as_the_paper:
        low, high = limits.x
        return Axis("iteration", 1e4 * low, 1e4 * high), Axis("error (%)", *limits.y)
    return Axis("iteration", 0, study.iterations), Axis("error (%)", 0, 100)


def _notes(
    curves: Curves, arm: str, depths: Sequence[int], top: float, quantity: str
) -> Iterator[str]:
    """What ends above the frame, diverged before its first row, or wasn't trained."""
    trained = [depth for depth in depths if (arm, depth) in curves.rows]
    for depth in trained:
        own = curves.rows[arm, depth]
        end = own.groupby("run")[quantity].last().mean()
        if end > top:
            so_far = "" if set(own["state"]) == {"done"} else " so far"
            yield f"↑ {arm}-{depth}: {end:.1f} %{so_far}"
    for run in curves.study.idle.to_dict("records"):
        if run["arm"] == arm and run["depth"] in depths and run["state"] == "diverged":
            yield f"× {arm}-{run['depth']}, seed {run['seed']}: diverged before its first row"
    absent = [f"{arm}-{depth}" for depth in depths if depth not in trained]
    if absent:
        yield f"not trained: {', '.join(absent)}"


def _chart(curves: Curves, name: str, title: str, panels: Sequence[Panel]) -> Chart:
    used = [series for panel in panels for series in panel.series]
    together = any(len({s.column for s in panel.series}) > 1 for panel in panels)
    key = ["dashed: training, solid: test"] if together else []
    if any(series.kind == "seed" for series in used):
        key.append("thin: one seed, strong: the mean")
    if not curves.single:
        key.append("too many runs to show each seed: the wide band is their range")
    if any(curves.sheet.lines[series.line].half for series in used):
        key.append("band: 95 % t interval of the mean")
    if any(series.kind == "paper" for series in used):
        key.append("faint: the paper's own curves")
    return Chart(name, title, "; ".join(key), tuple(panels), _legend(used, together), True)


def _legend(used: Sequence[Series], together: bool) -> tuple[Entry, ...]:
    """A switch a network, then those of the kinds of lines that occur; `together`: whether a panel
    has both errors."""
    networks = {s.tags[0]: s.colour for s in used}
    kinds = {tag for s in used for tag in s.tags[1:]}
    words: Mapping[str, Entry] = {
        "training": Entry("training", dashed=True), "test": Entry("test"),
        "seeds": Entry("seeds", mark="thin"), GHOST: Entry(GHOST, mark="faint"),
    }  # fmt: skip
    idle = set() if together else {"training", "test"}
    shown = [entry for tag, entry in words.items() if tag in kinds - idle]
    return (*(Entry(tag, colour) for tag, colour in networks.items()), *shown)
