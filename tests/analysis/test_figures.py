"""Figures and tables: they show the rows, name what is missing, and come out the same each time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from analysis import plot_curves
from analysis.frames import runs as frames
from analysis.plots import curves, depth, layer_responses, tables
from analysis.plots.style import PAPER, STYLES, Style
from degradation.system.paths import TOP
from tests.analysis.conftest import add


def lines(figure: Figure, panel: int = 0) -> list[list[float]]:
    """The y values of the lines in a panel."""
    return [[float(y) for y in line.get_ydata()] for line in figure.axes[panel].lines]


def dots(figure: Figure, panel: int = 0) -> set[float]:
    """The y values of the dots in a panel."""
    found = figure.axes[panel].findobj(PathCollection)
    return {float(y) for dots in found for y in dots.get_offsets()[:, 1]}


def texts(figure: Figure) -> str:
    legends = [t.get_text() for a in figure.axes if a.get_legend() for t in a.get_legend().texts]
    return "\n".join([*legends, *(t.get_text() for axis in figure.axes for t in axis.texts)])


# ---- curves over training


def test_figure_1_shows_every_seed_and_their_mean(study: frames.Study) -> None:
    figure = curves.figure1(study, PAPER)
    training = lines(figure)
    assert len(training) == 6  # two depths: two seeds and a mean each
    assert [24, 22, 20, 19, 16] in training
    assert [24.5, 22.5, 20.5, 19.5, 16.5] in training
    assert "plain-8 (n=2)" in texts(figure) and "plain-14 (n=2)" in texts(figure)


def test_unfinished_and_diverged_are_marked_and_not_in_the_means(runs: Path, small) -> None:
    add(runs, small(depth=20), [(4, 60, 60), (6, 60, 60)], "diverged")
    add(runs, small(depth=26), [(4, 70, 70)], None)
    add(runs, small(depth=8, seed=2), [(4, 99, 99), (6, 99, 99)], "diverged")
    (study,) = frames.studies(runs)
    figure = curves.figure6(study, PAPER)
    assert {60, 70} <= dots(figure)
    assert "plain-20, diverged" in texts(figure) and "plain-26, unfinished" in texts(figure)
    remarks = "\n".join(plot_curves.remarks(study, str(runs)))
    assert "diverged: digits-plain-20-s0" in remarks
    assert "partial: digits-plain-26-s0" in remarks
    assert "python -m degradation.run -m data=digits model=residual depth=" in remarks
    table = tables.errors(study).set_index(["network", "quantity"])
    assert table.loc[("plain-8", "train_error"), ["n", "ours"]].tolist() == [2, 16.5]
    assert [24.5, 22.5, 20.5, 19.5, 16.5] in lines(curves.figure1(study, PAPER))


# ---- beside the paper


def test_on_the_papers_data_its_curves_are_drawn_too(papers: frames.Study) -> None:
    figure = curves.figure1(papers, PAPER)
    faint = [line for line in figure.axes[1].lines if line.get_alpha() == 0.3]
    theirs = frames.paper_curves().query("panel == 'left' and network == 'plain-56'")
    theirs = theirs[theirs["quantity"] == "test_error"]["value"]
    assert any(np.array_equal(theirs, line.get_ydata()) for line in faint)
    assert figure.axes[0].get_ylim() == (0, 20)
    assert "plain-56, not trained" in texts(figure)
    assert "plain-110 (n=1) ↑ 80.0 %" in texts(curves.figure6(papers, PAPER))


def test_the_table_is_beside_the_papers(papers: frames.Study) -> None:
    table = tables.errors(papers)
    row = table[(table["network"] == "plain-20") & (table["quantity"] == "test_error")].iloc[0]
    assert (row["ours"], row["paper"], row["n"]) == (9.0, 9.69, 1)
    assert row["difference"] == pytest.approx(-0.69)
    text = tables.formats(table, tables.TITLES, tables.error_cells)["md"]
    assert "| plain-20 | 1 | 8.00 (paper: 1.44)* | 9.00 (paper: 9.69)* |" in text


def test_before_the_drop_is_the_mean_of_its_last_rows(papers: frames.Study) -> None:
    rows = papers.rows.copy()
    rows.loc[rows["iteration"] <= 27_000, "train_error"] = 99
    assert frames.before_drop(rows).set_index("depth").loc[20, "train_error"] == 8


def test_figure_6_takes_each_panel_from_the_first_study_that_fills_it(runs: Path, small) -> None:
    recipe = {"recipe__iterations": 8000, "recipe__milestones": [4000]}
    short = [
        (small(data__name="cifar10", depth=20, model__shortcut=s, **recipe), e)
        for s, e in (("none", 30), ("identity", 20))
    ]
    for config, error in short:
        add(runs, config, [(4000, error + 5, error + 5), (8000, error, error)])
    assert curves.figure6_across(frames.studies(runs), PAPER) is None  # no third residual depth
    add(runs, small(depth=20, model__shortcut="identity"), [(6, 4, 5), (12, 1, 3)])
    plot_curves.draw_across(frames.studies(runs), runs.parent, PAPER)
    assert (runs.parent / "figure6.svg").stat().st_size
    figure = curves.figure6_across(frames.studies(runs), PAPER)
    assert figure is not None
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        "plain\ncifar10, 8,000 iterations",
        "residual\ncifar10, 8,000 iterations",
        "residual, the deepest two\ndigits, 12 iterations",
    ]
    assert "residual-14 (n=2)\nresidual-20 (n=1)" in texts(figure)
    assert "not trained" not in texts(figure)  # the paper's depths are wanted at its length alone


# ---- against depth


def test_errors_have_a_dot_a_seed_and_a_line_through_the_means(study: frames.Study) -> None:
    figure = depth.errors(study, PAPER)
    assert {16, 17, 28, 29} <= dots(figure)  # plain, training: both seeds at both depths
    assert [16.5, 28.5] in lines(figure)


def test_the_gap_is_paired_by_seed(study: frames.Study) -> None:
    gaps = depth.gaps(study).sort_values(["depth", "seed"])
    assert list(gaps["train_error"]) == [8, 8, 14, 14]  # twice the depth less the depth
    assert [8, 14] in lines(depth.gap(study, PAPER))


def test_speed_counts_those_that_never_got_there(study: frames.Study) -> None:
    twenty = depth.speed(study, PAPER).axes[2]
    first = frames.first_below(study.rows, 20)
    assert first[next(run for run in first.index if "plain-8-s0" in run)] == 9
    assert [t.get_text() for t in twenty.texts] == ["never: 2 of 2"]


def test_cost_is_measured_without_evaluation(study: frames.Study) -> None:
    timing = frames.timing(study)
    # Rows 4 to 6 took 6 · 0.5 s for 2 iterations, and so on: 1.5, 2.0, 4.5, 2.0 s an iteration.
    assert set(timing["milliseconds"]) == {2_000}
    assert set(timing["seconds"]) == {24}
    assert depth.cost(study, PAPER).axes[1].get_ylabel() == "seconds a run"


def test_figure_7_sorts_the_layers(runs: Path) -> None:
    folder = next(runs.glob("digits-plain-8-s0-*"))
    (folder / "responses.csv").write_text("layer,name,response_std\n1,a,1\n2,b,3\n3,c,2\n")
    (study,) = frames.studies(runs)
    figure = layer_responses.figure7(study, PAPER)
    assert [1, 3, 2] in lines(figure, 0)
    assert [3, 2, 1] in lines(figure, 1)


# ---- the command


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_every_figure_draws_in_every_style(study: frames.Study, style: Style) -> None:
    for drawing in plot_curves.FIGURES.values():
        if drawing.suits(study):
            assert drawing.draw(study, style).axes


@pytest.mark.slow
def test_the_command_draws_the_same_bytes_twice(runs: Path, tmp_path: Path) -> None:
    drawn = []
    for out in (tmp_path / "one", tmp_path / "two"):
        command = [sys.executable, TOP / "analysis/plot_curves.py", "runs", "--out", out]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        drawn.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert drawn[0] == drawn[1]
    figures = ("figure1", "figure6", "depth", "gap", "generalisation", "speed")
    names = {f"digits-{name}.{kind}" for name in figures for kind in ("png", "svg", "pdf", "csv")}
    assert names | {f"digits-errors.{kind}" for kind in ("md", "csv", "tex")} <= set(drawn[0])
    assert len(pd.read_csv(tmp_path / "one/digits-figure1.csv")) == 40
    assert "| plain-14 | 2 | 28.50 ± 0.71 |" in done.stdout
