"""Figures and tables: they show the rows, say what is missing, and come out the same each time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import plot_curves
from analysis.frames import runs as frames
from analysis.plots import curves as figures
from analysis.plots import depth as depth_figures
from analysis.plots import tables
from analysis.plots.style import (
    LOOKS,
    MODERN,
    PAPER,
    Look,
)
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP


def rows_of(errors: Iterator[tuple[int, float, float]]) -> list[dict[str, float]]:
    return [{"iteration": i, "train_error": a, "test_error": b} for i, a, b in errors]


def add(runs: Path, config, rows: list[dict[str, float]], outcome: str | None = "done") -> RunDir:
    run = RunDir.of(config, runs)
    run.create(config)
    digests = {"initial": f"i{config.depth}{config.seed}", "stream": f"s{config.seed}"}
    start = {"digests": digests, "fingerprint": {"device": "cpu"}}
    files.append_line(run.launches_jsonl, json.dumps(start))
    for row in rows:
        files.append_line(run.curves, json.dumps(row))
        timing = {"iteration": row["iteration"], "seconds": row["iteration"] * 0.5}
        files.append_line(run.timing_jsonl, json.dumps(timing))
    if outcome:
        files.write_json(run.done_json, {"outcome": outcome, "iteration": rows[-1]["iteration"]})
    return run


@pytest.fixture
def runs(small, tmp_path: Path) -> Path:
    """plain and residual 8 and 14, two seeds; errors that a test can tell apart."""
    for depth in (8, 14):
        for arm, shortcut in (("plain", "none"), ("residual", "identity")):
            for seed in (0, 1):
                base = depth * (2 if arm == "plain" else 1) + seed
                rows = rows_of((i, base + 12 - i, base + 13 - i) for i in (4, 6, 8, 9, 12))
                add(
                    tmp_path / "runs", small(depth=depth, seed=seed, model__shortcut=shortcut), rows
                )
    return tmp_path / "runs"


def lines(figure: Figure, panel: int) -> list[list[float]]:
    """The y values of the lines in a panel."""
    return [list(line.get_ydata()) for line in figure.axes[panel].lines]


def texts(figure: Figure) -> str:
    legends = [t.get_text() for a in figure.axes if a.get_legend() for t in a.get_legend().texts]
    return "\n".join([*legends, *(t.get_text() for axis in figure.axes for t in axis.texts)])


def test_figure_1_shows_every_seed_and_their_mean(runs: Path) -> None:
    (study,) = frames.studies(runs)
    figure = figures.figure1(study, PAPER)
    training = lines(figure, 0)
    assert len(training) == 6  # two depths: two seeds and a mean each
    assert training[0] == [24, 22, 20, 19, 16]
    assert training[2] == [24.5, 22.5, 20.5, 19.5, 16.5]
    assert "plain-8" in texts(figure) and "plain-14" in texts(figure)


def test_figure_6_has_training_dashed_and_test_bold(runs: Path) -> None:
    (study,) = frames.studies(runs)
    for axis in figures.figure6(study, PAPER).axes:
        styles = {line.get_linestyle() for line in axis.lines}
        assert styles == {"--", "-"}
        widths = {s: max(x.get_linewidth() for x in axis.lines if x.get_linestyle() == s)
                  for s in styles}  # fmt: skip
        assert widths["-"] > widths["--"]


def test_depth_figure_has_a_dot_a_seed(runs: Path) -> None:
    (study,) = frames.studies(runs)
    figure = depth_figures.errors(study, PAPER)
    assert [16, 17, 28, 29] in [
        sorted(y) for y in lines(figure, 0)
    ]  # plain, training: both seeds at both depths
    assert [16.5, 28.5] in lines(figure, 0)


def test_runs_of_two_protocols_are_never_mixed(runs: Path, small) -> None:
    add(runs, small(recipe__lr=0.5), rows_of((i, 50, 50) for i in (4, 12)))
    first, second = frames.studies(runs)
    assert (first.name, first.rows["run"].nunique()) == ("digits", 8)
    assert second.name.startswith("digits-")
    assert second.rows["run"].nunique() == 1


def test_unfinished_diverged_and_missing_are_marked(runs: Path, small) -> None:
    add(runs, small(depth=20), rows_of((i, 60.0, 60.0) for i in (4, 6)), "diverged")
    add(runs, small(depth=26), rows_of((i, 70.0, 70.0) for i in (4,)), None)
    (study,) = frames.studies(runs)
    markers = {line.get_marker() for line in figures.figure6(study, PAPER).axes[0].lines}
    assert {"x", "o"} <= markers
    remarks = "\n".join(plot_curves.remarks(study, str(runs)))
    assert "diverged: digits-plain-20-s0" in remarks
    assert "partial: digits-plain-26-s0" in remarks
    missing = "python -m degradation.run -m data=digits model=residual depth=20,26"
    assert missing in remarks


def test_a_diverged_run_is_not_in_the_means(runs: Path, small) -> None:
    rows = rows_of((i, 99.0, 99.0) for i in (4, 6))
    add(runs, small(depth=8, seed=2), rows, "diverged")
    (study,) = frames.studies(runs)
    table = tables.errors(study).set_index(["network", "quantity"])
    assert table.loc[("plain-8", "train_error"), "n"] == 2
    assert table.loc[("plain-8", "train_error"), "ours"] == 16.5


def paper_study(small, runs: Path) -> frames.Study:
    """plain 20 on CIFAR-10 with the paper's length, and a plain 110 above the frame."""
    for depth, error in ((20, 9.0), (110, 80.0)):
        config = small(data__name="cifar10", depth=depth, recipe__iterations=64_000,
                      recipe__milestones=[32_000, 48_000], recipe__eval_every=1_000)  # fmt: skip
        add(runs, config, rows_of((i, error - 1, error) for i in range(1_000, 65_000, 1_000)))
    (study,) = frames.studies(runs)
    return study


def test_on_the_papers_data_its_curves_are_ghosts(small, tmp_path: Path) -> None:
    study = paper_study(small, tmp_path)
    figure = figures.figure1(study, PAPER)
    ghosts = [line for line in figure.axes[1].lines if line.get_alpha() == 0.3]
    curves = frames.paper_curves()
    theirs = curves[(curves["panel"] == "left") & (curves["network"] == "plain-56")
                    & (curves["quantity"] == "test_error")]  # fmt: skip
    assert list(theirs["value"]) in [list(line.get_ydata()) for line in ghosts]
    assert figure.axes[0].get_ylim() == (0, 20)
    assert "plain-56, not trained" in texts(figure)


def test_what_lies_above_the_frame_is_named_with_its_value(small, tmp_path: Path) -> None:
    assert "plain-110 ↑ 80.0 %" in texts(figures.figure6(paper_study(small, tmp_path), PAPER))


def test_the_table_is_beside_the_papers(small, tmp_path: Path) -> None:
    table = tables.errors(paper_study(small, tmp_path))
    row = table[(table["network"] == "plain-20") & (table["quantity"] == "test_error")].iloc[0]
    assert (row["ours"], row["paper"], row["n"]) == (9.0, 9.69, 1)
    assert row["difference"] == pytest.approx(-0.69)
    assert "| plain-20 | 1 | 8.00 (paper: 1.44)* | 9.00 (paper: 9.69)* |" in tables.markdown(table)


def test_before_the_drop_is_the_mean_of_its_last_rows(small, tmp_path: Path) -> None:
    study = paper_study(small, tmp_path)
    rows = study.rows.copy()
    rows.loc[rows["iteration"] <= 27_000, "train_error"] = 99
    early = frames.before_drop(rows).set_index("depth")
    assert early.loc[20, "train_error"] == 8


def plot(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(TOP / "analysis/plot_curves.py"), *arguments],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_draws_the_same_bytes_twice(runs: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        done = plot(tmp_path, "runs", "--out", out)
        assert done.returncode == 0, done.stderr
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / x).iterdir()} for x in ("one", "two"))
    assert one == two
    drawn = ("figure1", "figure6", "depth", "gap", "generalisation", "speed")
    names = {f"digits-{name}.{kind}" for name in drawn for kind in ("png", "svg", "pdf", "csv")}
    names |= {f"digits-errors.{kind}" for kind in ("md", "csv", "tex")}
    assert names <= set(one)
    assert len(pd.read_csv(tmp_path / "one/digits-figure1.csv")) == 40
    assert "| plain-14 | 2 | 28.50 ± 0.71 |" in done.stdout


def test_where_there_is_nothing_it_says_what_makes_something(tmp_path: Path) -> None:
    done = plot(tmp_path, "nowhere")
    assert done.returncode == 1
    assert "python -m degradation.run" in done.stderr


def test_a_damaged_file_is_named(runs: Path, tmp_path: Path) -> None:
    victim = next(runs.glob("*/curves.jsonl"))
    victim.write_text("{\n{}\n")
    done = plot(tmp_path, "runs")
    assert done.returncode == 2
    assert str(victim.relative_to(tmp_path)) in done.stderr
    assert "line 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_gap_is_paired_by_seed(runs: Path) -> None:
    (study,) = frames.studies(runs)
    gaps = depth_figures.gaps(study).sort_values(["depth", "seed"])
    assert list(gaps["train_error"]) == [8, 8, 14, 14]  # twice the depth less the depth
    assert [8, 14] in lines(depth_figures.gap(study, PAPER), 0)


def test_a_pair_whose_digests_differ_is_not_in_the_gap(runs: Path) -> None:
    victim = next(runs.glob("digits-plain-8-s1-*/launches.jsonl"))
    victim.write_text(victim.read_text().replace("s1", "another"))
    (study,) = frames.studies(runs)
    assert len(depth_figures.gaps(study)) == 3


def test_generalisation_is_test_less_training(runs: Path) -> None:
    (study,) = frames.studies(runs)
    shown = lines(depth_figures.generalisation(study, PAPER), 0)[:-1]  # the last one is zero
    assert {v for values in shown for v in values if v == v} == {1.0}


def test_speed_counts_those_that_never_got_there(runs: Path) -> None:
    (study,) = frames.studies(runs)
    figure = depth_figures.speed(study, PAPER)
    fifty, twenty = figure.axes[1], figure.axes[2]
    assert [t.get_text() for t in fifty.texts] == []
    first = frames.first_below(study.rows, 20).set_index("run")["iteration"]
    assert first[next(r for r in first.index if "plain-8-s0" in r)] == 9
    assert "never: 2 of 2" in [t.get_text() for t in twenty.texts]


def test_a_remark_on_a_depth_that_never_got_there_is_within_the_panel(runs: Path) -> None:
    """Of the deeper nets none gets below 50 % here, so that no point of theirs makes room."""
    (study,) = frames.studies(runs)
    deep = study.rows["depth"] == study.rows["depth"].max()
    study.rows.loc[deep, "train_error"] = 99.0
    for axis in depth_figures.speed(study, PAPER).axes:
        low, high = axis.get_xlim()
        assert all(low < text.get_position()[0] < high for text in axis.texts)
    assert axis.texts


def test_cost_is_measured_without_evaluation(runs: Path) -> None:
    (study,) = frames.studies(runs)
    timing = frames.timing(study)
    # rows 4 to 6 took 6 · 0.5 s for 2 iterations, and so on: 1.5, 2.0, 4.5, 2.0 s an iteration
    assert set(timing["milliseconds"]) == {2_000}
    assert set(timing["seconds"]) == {24}
    assert figure_labels(depth_figures.cost(study, PAPER))[1] == "seconds a point"


def figure_labels(figure: Figure) -> list[str]:
    return [axis.get_ylabel() for axis in figure.axes]


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_every_figure_draws_in_every_look(runs: Path, look: Look) -> None:
    (study,) = frames.studies(runs)
    for drawing in plot_curves.FIGURES.values():
        if drawing.suits(study):
            assert drawing.draw(study, look).axes


def test_the_modern_look_names_curves_at_their_ends_and_draws_bands(runs: Path, small) -> None:
    for depth in (8, 14):
        add(runs, small(depth=depth, seed=2), rows_of((i, 30.0, 31.0) for i in (4, 6, 8, 9, 12)))
    (study,) = frames.studies(runs)
    panel = figures.figure6(study, MODERN).axes[0]
    assert panel.get_legend() is None
    assert {t.get_text() for t in panel.texts} == {"plain-8", "plain-14"}
    assert len(panel.collections) == 4  # two depths, training and test
    assert not figures.figure6(study, PAPER).axes[0].collections


def test_names_at_the_ends_keep_apart() -> None:
    moved = figures.apart({20: 0.50, 32: 0.51, 44: 0.99, 56: 0.98}, gap=0.1)
    places = sorted(moved.values())
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(places))
    assert max(places) <= 1
    assert moved[20] < moved[32] < moved[56] < moved[44]


def test_a_run_that_diverged_before_its_first_row_is_named(runs: Path, small) -> None:
    run = RunDir.of(small(depth=20), runs)
    run.create(small(depth=20))
    files.write_json(run.done_json, {"outcome": "diverged", "iteration": 1})
    (study,) = frames.studies(runs)
    assert "diverged: digits-plain-20-s0" in "\n".join(plot_curves.remarks(study, str(runs)))
    own = frames.Study("cifar10", "cifar10", study.rows, study.idle)
    assert "plain-20, diverged before its first row" in texts(figures.figure6(own, PAPER))


def test_figure_4_has_the_papers_curves_and_limits() -> None:
    rows = pd.DataFrame([
        {"run": f"{arm}{depth}", "arm": arm, "depth": depth, "seed": 0, "iteration": iteration,
         "iterations": 600_000, "state": "done", "train_error": 40.0, "test_error": 35.0}
        for arm in ("plain", "residual") for depth in (18, 34) for iteration in (5_000, 600_000)
    ])  # fmt: skip
    study = frames.Study("imagenet", "imagenet", rows)
    figure = figures.figure4(study, PAPER)
    own = {line.get_linewidth() for line in figure.axes[0].lines if line.get_linestyle() == "-"}
    assert {PAPER.train["linewidth"], PAPER.test["linewidth"]} <= own  # thin, bold; none is dashed
    assert {line.get_linestyle() for line in figure.axes[0].lines} == {"-"}
    assert [axis.get_ylim() for axis in figure.axes] == [(20, 63), (20, 63)]
    ghosts = [line for line in figure.axes[1].lines if line.get_alpha() == 0.3]
    assert sorted(len(line.get_xdata()) for line in ghosts) == [102, 104, 108, 108]


def test_figure_7_has_the_layers_in_order_and_sorted(runs: Path) -> None:
    for folder in runs.glob("digits-plain-8-*"):
        text = "layer,name,response_std\n1,norm,2.0\n2,a,1.0\n3,b,3.0\n"
        (folder / "responses.csv").write_text(text)
    (study,) = frames.studies(runs)
    figure = plot_curves.FIGURES["figure7"].draw(study, PAPER)
    assert lines(figure, 0) == [[2.0, 1.0, 3.0]]
    assert lines(figure, 1) == [[3.0, 2.0, 1.0]]
