"""How far runs are, and their final errors beside the paper's."""

import json
from pathlib import Path

import pytest

from degradation.runs import progress, summary
from degradation.runs.progress import RunProgress
from degradation.runs.run_dir import RunDir
from degradation.system import files

LAST = {"iteration": 12, "train_error": 3.0, "test_error": 4.0}


def made(config, runs: Path, *rows: dict[str, float]) -> RunDir:
    run = RunDir.of(config, runs)
    run.create(config)
    for row in rows:
        files.append_line(run.curves, json.dumps(row))
    return run


def test_of_a_finished_run_no_row_is_read(small, tmp_path: Path) -> None:
    run = made(small(), tmp_path)
    files.write_json(run.done_json, {"outcome": "done", "last": LAST})
    assert RunProgress.of(run, small()).row == LAST


def test_states_rows_and_reasons(small, tmp_path: Path) -> None:
    configs = [small(seed=seed) for seed in range(4)]
    _, failed, diverged = (made(config, tmp_path, LAST) for config in configs[:3])
    failed.fail("MemoryError", "no memory\nmore")
    files.write_json(diverged.done_json, {"outcome": "diverged", "iteration": 7})
    found = progress.of_configs(configs, str(tmp_path))
    assert [p.state for p in found] == ["partial", "failed", "diverged", "missing"]
    assert [p.reason for p in found] == ["", "no memory", "at iteration 7", ""]
    assert [p.progress for p in found] == ["12/12", "12/12", "12/12", "0/12"]
    assert len(progress.of_folder(str(tmp_path))) == 3


@pytest.mark.parametrize(
    ("iterations", "line"),
    [
        (64_000, "cifar10 plain 20 2 3.00 ± 0.00 1.44 9.50 ± 0.71 9.69"),
        (8_000, "cifar10 plain 20 2 3.00 ± 0.00 – 9.50 ± 0.71 –"),  # the paper trained longer
    ],
)
def test_final_errors_are_those_of_runs_that_reached_their_end(
    iterations: int, line: str, small, tmp_path: Path
) -> None:
    network = {"data__name": "cifar10", "depth": 20, "recipe__iterations": iterations}
    configs = [small(**network, seed=seed) for seed in range(3)]
    for config, error in zip(configs, (9.0, 10.0, 90.0), strict=True):
        run = made(config, tmp_path, LAST | {"test_error": error})
        outcome = "diverged" if error == 90 else "done"
        files.write_json(run.done_json, {"outcome": outcome})
    text = summary.as_text(progress.final_errors(progress.of_folder(str(tmp_path)))).splitlines()[1]
    assert " ".join(text.split()) == line
