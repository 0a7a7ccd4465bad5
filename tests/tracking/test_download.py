"""Downloading: what the figures are drawn from is byte for byte what was trained."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from degradation.runs import frames
from degradation.runs.run_dir import RunDirError
from degradation.system.paths import TOP
from degradation.tracking import download, keys, wandb_api
from tests.tracking.world import World, world

PLOT = [sys.executable, str(TOP / "analysis" / "plot_curves.py")]
FETCH = [
    sys.executable,
    "-c",
    "from degradation.tracking import download; download.fetch('team/project')",
]


@pytest.fixture
def w(tmp_path: Path):
    with world(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_what_is_downloaded_equals_what_was_trained(w: World) -> None:
    runs = []
    for seed in range(2):
        runs.append(run := w.start(seed, mode="disabled"))
        w.row(run, 6)
        w.end(run, result=seed == 0)  # one finished, one not
    with w.stub:
        assert w.command("--project", "project").returncode == 0
        assert w.call(FETCH).returncode == 0
        histories = len([r for r in w.stub.requests if "HistoryPage" in r])
        assert w.call(FETCH).returncode == 0  # the finished one is in the cache
        assert len([r for r in w.stub.requests if "HistoryPage" in r]) == histories + 1
    cache = w.runs.parent / "wandb-runs" / "team" / "project"
    for run in runs:
        assert (cache / run.name / "curves.jsonl").read_bytes() == run.curves.read_bytes()
    for ours, theirs in zip(frames.load(w.runs), frames.load(cache), strict=True):
        pd.testing.assert_frame_equal(ours.drop(columns="folder"), theirs.drop(columns="folder"))


def test_a_project_that_is_not_there_is_a_message(w: World) -> None:
    with w.stub:
        done = w.call([*PLOT, "--wandb", "team/none"])
    assert done.returncode == 2
    assert "Could not find project none" in done.stderr
    assert "Traceback" not in done.stderr


class Theirs:
    """A run as wandb's public API has it."""

    id = "x"

    def __init__(self, config: object, summary: object) -> None:
        self.config, self.summary = config, summary


def test_rows_that_were_changed_in_wandb_are_refused(tmp_path: Path, monkeypatch, small) -> None:
    config = keys.config(small(), {"commit": "c"})
    monkeypatch.setattr(wandb_api, "history", lambda run: [{"iteration": 4, "train_error": 2}])
    text = json.dumps({"iteration": 4, "train_error": 2.0}) + "\n"
    sha256 = download.hashlib.sha256(text.encode()).hexdigest()
    good = {"outcome": "done", "curves_sha256": sha256}
    assert download._fetch_run(Theirs(config, good), tmp_path)
    assert (tmp_path / small().name / "curves.jsonl").read_text() == text
    with pytest.raises(RunDirError, match="not those that were trained"):
        download._fetch_run(Theirs(config, good | {"curves_sha256": "0" * 64}), tmp_path / "other")


@pytest.mark.parametrize("config", [{}, {"run": None}, {"run": {"depth": "../.."}}])
def test_other_runs_of_the_project_are_passed_over(tmp_path: Path, config: dict) -> None:
    assert not download._fetch_run(Theirs(config, {}), tmp_path)
    assert list(tmp_path.iterdir()) == []
