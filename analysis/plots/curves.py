"""The paper's figures of errors over training from our rows: a study in, a matplotlib figure out.

Dashed is training, bold is test, a colour a depth. Thin lines are single seeds, the strong line is
their mean, faint ones are the paper's own curves, where the study has its data and length. A curve
that is not finished ends in a dot, one that diverged in a cross; the legend gives the value of one
that ends above the frame, and says what was not trained.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.frames import runs
from analysis.frames.runs import Study
from analysis.plots.style import Line, Look
from analysis.stats import inference

LABELS = {"train_error": "training error (%)", "test_error": "test error (%)"}
BAND_SEEDS = 3  # of two seeds a t band is wider than the figure


@dataclass(frozen=True)
class Panel:
    """Which networks a panel shows, and where the paper shows them."""

    arm: str
    figure: str
    """The paper's figure and panel whose curves are the ghosts."""
    panel: str
    depths: tuple[int, ...]
    """The paper's; on other data those there are."""
    deepest: int | None = None
    """On other data, only so many of the deepest."""

    def depths_of(self, study: Study) -> list[int]:
        if study.papers_data:
            return list(self.depths)
        there = study.depths(self.arm)
        return there[-self.deepest :] if self.deepest else there


@dataclass(frozen=True)
class Frame:
    """The paper's limits: x in 1e4 iterations, y in percent."""

    x: tuple[float, float]
    y: tuple[float, float]


FIGURE1 = Panel("plain", "fig6", "left", (20, 56))
FIGURE6 = {
    "plain": Panel("plain", "fig6", "left", (20, 32, 44, 56, 110)),
    "residual": Panel("residual", "fig6", "middle", (20, 32, 44, 56, 110)),
    "residual, the deepest two": Panel("residual", "fig6", "right", (110, 1202), deepest=2),
}
FIGURE4 = {
    "plain": Panel("plain", "fig4", "left", (18, 34)),
    "residual": Panel("residual", "fig4", "right", (18, 34)),
}
CIFAR = Frame((0, 6.4), (0, 20))
OVERFITTING = Frame((3.5, 6.4), (0, 20))
IMAGENET = Frame((0, 55), (20, 63))


def figure1(study: Study, look: Look) -> Figure:
    """Figure 1: training error | test error of the shallowest and the deepest plain net."""
    depths = FIGURE1.depths_of(study)
    shown = sorted({depths[0], depths[-1]}) if depths else []
    with panels(look, 2) as (figure, axes):
        for axis, quantity in zip(axes, LABELS, strict=True):
            _networks(axis, study, FIGURE1, shown, {quantity: look.test}, look, CIFAR)
            axis.set_ylabel(LABELS[quantity])
    return figure


def figure4(study: Study, look: Look) -> Figure:
    """Figure 4: plain | residual on ImageNet; thin training, bold validation (center crop)."""
    thin = look.test | {"linewidth": look.train["linewidth"]}
    key = "thin: training    bold: validation"
    return _arms(study, look, FIGURE4, [IMAGENET, IMAGENET], key, thin)


def figure6(study: Study, look: Look) -> Figure:
    """Figure 6: plain | residual | the two deepest residual nets, where overfitting shows."""
    key = "dashed: training error    bold: test error"
    return _arms(study, look, FIGURE6, [CIFAR, CIFAR, OVERFITTING], key, look.train)


def _arms(
    study: Study, look: Look, shown: Mapping[str, Panel], limits: Sequence[Frame], key: str,
    train: Line,
) -> Figure:  # fmt: skip
    both = {"train_error": train, "test_error": look.test}
    with panels(look, len(shown)) as (figure, axes):
        for axis, (title, panel), limit in zip(axes, shown.items(), limits, strict=True):
            _networks(axis, study, panel, panel.depths_of(study), both, look, limit)
            axis.set_title(title)
            axis.set_ylabel("error (%)")
        ghosts = "    faint: the paper's" if study.as_the_paper else ""
        figure.supxlabel(key + ghosts, fontsize="small", x=0.99, ha="right")
    return figure


def missing(study: Study) -> dict[str, list[int]]:
    """The depths that the figures would show and that have no run, by arm."""
    shown = FIGURE4 if study.data == "imagenet" else {"figure 1": FIGURE1, **FIGURE6}
    wanted = {
        arm: {d for panel in shown.values() if panel.arm == arm for d in panel.depths_of(study)}
        for arm in ("plain", "residual")
    }
    if not study.papers_data:  # half a pair is half an answer
        wanted = dict.fromkeys(wanted, wanted["plain"] | wanted["residual"])
    absent = {arm: sorted(depths - set(study.depths(arm))) for arm, depths in wanted.items()}
    return {arm: depths for arm, depths in absent.items() if depths}


@contextmanager
def panels(look: Look, count: int) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with panels side by side, in a look's settings."""
    width, height = look.panel
    with matplotlib.rc_context(look.settings):
        figure = Figure(figsize=(width * count, height), layout="constrained")
        yield figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]


def _networks(
    axis: Axes, study: Study, panel: Panel, depths: Sequence[int],
    quantities: Mapping[str, Line], look: Look, limits: Frame,
) -> None:  # fmt: skip
    """Draw the curves of some networks of one arm, frame and name them."""
    for depth in depths:
        for quantity, line in quantities.items():
            line = {**line, "color": look.colour(depth)}
            if study.as_the_paper:
                _ghost(axis, panel, f"{panel.arm}-{depth}", quantity, line)
            _curves(axis, study, panel.arm, depth, quantity, line, look.bands)
    _frame(axis, study, limits)
    headline = list(quantities)[-1]
    notes = {d: _note(axis, study, panel.arm, d, headline) for d in depths}
    if look.direct_labels:
        named = [depth for depth, note in notes.items() if not note]
        _name_at_the_end(axis, study, panel.arm, named, headline, look)
        notes = {depth: note for depth, note in notes.items() if note}
    handles = [
        Line2D([], [], color=look.colour(depth), linewidth=2, label=f"{panel.arm}-{depth}{note}",
               alpha=1 if depth in study.depths(panel.arm) else 0.3)
        for depth, note in notes.items()
    ]  # fmt: skip
    if handles:
        axis.legend(handles=handles, loc="best")


def _note(axis: Axes, study: Study, arm: str, depth: int, quantity: str) -> str:
    """What a panel can't show of a network: its end above the frame, or that there is none."""
    own = study.network(arm, depth)
    if own.empty:
        idle = study.idle.to_dict("records")
        states = {run["state"] for run in idle if (run["arm"], run["depth"]) == (arm, depth)}
        return ", diverged before its first row" if "diverged" in states else ", not trained"
    end, so_far = _end(own, quantity), "" if set(own["state"]) == {"done"} else " so far"
    return f" ↑ {end:.1f} %{so_far}" if end > axis.get_ylim()[1] else ""


def _curves(
    axis: Axes, study: Study, arm: str, depth: int, quantity: str, line: Line, band: bool
) -> None:
    """Every seed's curve of one network, thin, and their mean; one seed alone is drawn strong."""
    own = study.network(arm, depth)
    seeds = own["run"].nunique()
    for _, run in own.groupby("run"):
        thin = {**line, "linewidth": 0.6, "alpha": 0.4} if seeds > 1 else line
        axis.plot(run["iteration"] / study.scale, run[quantity], **thin)
        if (state := run["state"].iloc[0]) != "done":
            end = run.iloc[-1]
            axis.plot(end["iteration"] / study.scale, end[quantity], markersize=5,
                      marker="x" if state == "diverged" else "o", color=line["color"])  # fmt: skip
    own = own[own["state"] == "done"]  # a run that has just begun would cut the mean to its rows
    seeds = own["run"].nunique()
    if seeds < 2:
        return
    values = own.pivot_table(index="iteration", columns="run", values=quantity).dropna()
    x = values.index / study.scale
    axis.plot(x, values.mean(axis=1), **line)
    if band and seeds >= BAND_SEEDS:
        half = inference.half_width(values.std(axis=1), seeds)
        mean = values.mean(axis=1)
        axis.fill_between(x, mean - half, mean + half, color=line["color"], alpha=0.15, linewidth=0)


def _ghost(axis: Axes, panel: Panel, network: str, quantity: str, line: Line) -> None:
    """The paper's own curve, faint."""
    curves = runs.paper_curves()
    theirs = {"test_error": ("test_error", "val_error_center_crop")}.get(quantity, (quantity,))
    own = curves[
        (curves["figure"] == panel.figure) & (curves["panel"] == panel.panel)
        & (curves["network"] == network) & curves["quantity"].isin(theirs)
    ]  # fmt: skip
    axis.plot(own["x"] / 1e4, own["value"], **{**line, "linewidth": 0.9, "alpha": 0.3})


def _frame(axis: Axes, study: Study, limits: Frame) -> None:
    """The paper's limits where its curves are; elsewhere those that suit the rows."""
    if study.as_the_paper:
        axis.set_xlim(*limits.x)
        axis.set_ylim(*limits.y)
    else:
        axis.set_xlim(0, study.iterations / study.scale)
        axis.set_ylim(0, 100)
    axis.set_xlabel("iteration" if study.scale == 1 else "iter. (1e4)")


def _name_at_the_end(
    axis: Axes, study: Study, arm: str, depths: Sequence[int], quantity: str, look: Look
) -> None:
    """Each network's name behind its curve's end, apart where the ends lie together."""
    bottom, top = axis.get_ylim()
    ends = {d: _end(study.network(arm, d), quantity) for d in depths}
    places = {d: (end - bottom) / (top - bottom) for d, end in ends.items()}
    for depth, y in apart(places, gap=0.065).items():
        axis.text(1.015, y, f"{arm}-{depth}", transform=axis.transAxes, va="center",
                  fontsize="small", color=look.colour(depth))  # fmt: skip


def apart(places: Mapping[int, float], gap: float) -> dict[int, float]:
    """The places in [0, 1], moved as little as it takes for `gap` between neighbours."""
    ordered = sorted(places.items(), key=lambda item: (item[1], item[0]))
    moved: list[tuple[int, float]] = []
    for key, place in ordered:
        moved.append((key, max(place, moved[-1][1] + gap) if moved else place))
    over = max(0.0, moved[-1][1] - 1) if moved else 0.0
    return {key: place - over for key, place in moved}


def _end(rows: pd.DataFrame, quantity: str) -> float:
    return float(rows.groupby("run")[quantity].last().mean())
