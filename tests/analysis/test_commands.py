"""The three commands where there is nothing to show, or something that can't be read."""

from pathlib import Path
from types import ModuleType

import pytest

from analysis import plot_curves, report, verdict
from degradation.runs.run_dir import runs_in


@pytest.mark.parametrize("command", [plot_curves, report, verdict])
def test_nothing_to_show_and_nothing_to_read(
    command: ModuleType, runs: Path, call, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, message = call(command, "nowhere")
    assert status == 1 and "python -m degradation.run" in message
    damaged = next(runs.glob("*/curves.jsonl"))
    damaged.write_text("{\n{}\n")
    status, _, message = call(command, runs)
    assert status == 2 and f"{damaged}, line 1" in message
    assert list(tmp_path.iterdir()) == [runs]


def test_what_the_verdict_can_not_read_is_named(runs: Path, call) -> None:
    status, _, message = call(verdict, runs, "--margin=-1")
    assert (status, message) == (2, "margin=-1.0: must be a number of at least 0\n")
    run = runs_in(runs)[0]
    run.layers.write_text("{\n")
    status, _, message = call(verdict, runs)
    assert status == 2 and f"{run.layers}, line 1" in message
    run.curves.unlink()
    run.curves.mkdir()
    status, _, message = call(verdict, runs)
    assert status == 5 and str(run.curves) in message
