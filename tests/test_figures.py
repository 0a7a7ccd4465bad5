"""Figures and tables: they show the rows, say what is missing, and come out the same each time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import figures
import frames
import plot_curves
import tables
from degradation import storage
from degradation.places import TOP
from degradation.store import Run


def rows_of(errors: Iterator[tuple[int, float, float]]) -> list[dict[str, float]]:
    return [{"iteration": i, "train_error": a, "test_error": b} for i, a, b in errors]


def add(runs: Path, point, rows: list[dict[str, float]], outcome: str | None = "done") -> Run:
    run = Run.of(point, runs)
    run.create(point)
    for row in rows:
        storage.append_line(run.curves, json.dumps(row))
    if outcome:
        storage.write_json(run.done_json, {"outcome": outcome, "iteration": rows[-1]["iteration"]})
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
    figure = figures.figure1(study)
    training = lines(figure, 0)
    assert len(training) == 6  # two depths: two seeds and a mean each
    assert training[0] == [24, 22, 20, 19, 16]
    assert training[2] == [24.5, 22.5, 20.5, 19.5, 16.5]
    assert "plain-8" in texts(figure) and "plain-14" in texts(figure)


def test_figure_6_has_training_dashed_and_test_bold(runs: Path) -> None:
    (study,) = frames.studies(runs)
    for axis in figures.figure6(study).axes:
        styles = {line.get_linestyle() for line in axis.lines}
        assert styles == {"--", "-"}
        widths = {s: max(x.get_linewidth() for x in axis.lines if x.get_linestyle() == s)
                  for s in styles}  # fmt: skip
        assert widths["-"] > widths["--"]


def test_depth_figure_has_a_dot_a_seed(runs: Path) -> None:
    (study,) = frames.studies(runs)
    figure = figures.error_against_depth(study)
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
    markers = {line.get_marker() for line in figures.figure6(study).axes[0].lines}
    assert {"x", "o"} <= markers
    remarks = "\n".join(plot_curves.remarks(study))
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
        point = small(data__name="cifar10", depth=depth, recipe__iterations=64_000,
                      recipe__drops=[32_000, 48_000], recipe__eval_every=1_000)  # fmt: skip
        add(runs, point, rows_of((i, error - 1, error) for i in range(1_000, 65_000, 1_000)))
    (study,) = frames.studies(runs)
    return study


def test_on_the_papers_data_its_curves_are_ghosts(small, tmp_path: Path) -> None:
    study = paper_study(small, tmp_path)
    figure = figures.figure1(study)
    ghosts = [line for line in figure.axes[1].lines if line.get_alpha() == 0.3]
    curves = frames.paper_curves()
    theirs = curves[(curves["panel"] == "left") & (curves["network"] == "plain-56")
                    & (curves["quantity"] == "test_error")]  # fmt: skip
    assert list(theirs["value"]) in [list(line.get_ydata()) for line in ghosts]
    assert figure.axes[0].get_ylim() == (0, 20)
    assert "not trained: plain-56" in texts(figure)


def test_what_lies_above_the_frame_is_named_with_its_value(small, tmp_path: Path) -> None:
    assert "↑ plain-110: 80.0 %" in texts(figures.figure6(paper_study(small, tmp_path)))


def test_the_table_is_beside_the_papers(small, tmp_path: Path) -> None:
    table = tables.errors(paper_study(small, tmp_path))
    row = table[(table["network"] == "plain-20") & (table["quantity"] == "test_error")].iloc[0]
    assert (row["ours"], row["paper"], row["n"]) == (9.0, 9.69, 1)
    assert row["difference"] == pytest.approx(-0.69)
    assert "| plain-20 | 1 | 8.00 (paper: 1.44) | 9.00 (paper: 9.69) |" in tables.markdown(table)


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
    names = {f"digits-{figure}.{kind}" for figure in ("figure1", "figure6", "depth")
             for kind in ("png", "svg", "csv")} | {"digits-errors.md", "digits-errors.csv"}  # fmt: skip
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
