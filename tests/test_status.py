"""The listing and the table of errors."""

import json
from pathlib import Path

import pytest

from degradation import paper, status, storage
from degradation.store import Run


def done(point, runs: Path, **row: float) -> Run:
    run = Run.of(point, runs)
    run.create(point)
    storage.append_line(run.curves, json.dumps({"iteration": point.recipe.iterations, **row}))
    storage.write_json(run.done_json, {"outcome": "done"})
    return run


def test_the_table_has_mean_spread_n_and_the_papers_number(small, tmp_path: Path) -> None:
    points = [small(data__name="cifar10", depth=20, seed=seed) for seed in range(2)]
    for point, error in zip(points, (9.0, 10.0), strict=True):
        done(point, tmp_path, train_error=1.0, test_error=error)
    table = status.table(status.of_study(points, str(tmp_path)))
    (line,) = [text for text in table.splitlines() if text.startswith("cifar10 plain 20")]
    assert line.split() == [
        "cifar10", "plain", "20", "2", "1.00", "±", "0.00", "1.44", "9.50", "±", "0.71", "9.69",
    ]  # fmt: skip


def test_the_listing_names_states_progress_and_reasons(small, tmp_path: Path) -> None:
    points = [small(seed=seed) for seed in range(4)]
    done(points[0], tmp_path, train_error=1.0, test_error=2.0)
    failed, diverged = (Run.of(point, tmp_path) for point in points[1:3])
    failed.create(points[1])
    storage.write_json(failed.failed_json, {"message": "no memory\nmore"})
    diverged.create(points[2])
    storage.write_json(diverged.done_json, {"outcome": "diverged", "iteration": 7})
    listing = status.listing(status.of_study(points, str(tmp_path))).splitlines()
    assert [line.split()[0] for line in listing[:4]] == ["done", "failed", "diverged", "missing"]
    assert "12/12" in listing[0]
    assert listing[1].endswith("no memory")
    assert listing[2].endswith("at iteration 7")
    assert listing[4] == "1 done, 1 failed, 1 diverged, 1 missing"


def test_one_value_has_no_spread() -> None:
    assert status.spread([6.5]) == "6.50"
    assert status.spread([6.45, 6.77]) == "6.61 ± 0.23"


@pytest.mark.parametrize(
    ("arm", "depth", "error"), [("residual", 110, 6.43), ("residual", 1202, 7.93)]
)
def test_the_papers_numbers(arm: str, depth: int, error: float) -> None:
    assert paper.errors()["cifar10", arm, depth, "test_error"] == error
