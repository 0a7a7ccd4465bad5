"""Downloading: what the figures are drawn from is byte for byte what was trained."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from degradation.runs import frames
from degradation.runs.run_dir import RunDirError
from degradation.system.paths import TOP
from degradation.tracking import download, keys, wandb_api
from tests.tracking.conftest import World

PLOT = [sys.executable, str(TOP / "analysis" / "plot_curves.py")]
CODE = "from degradation.tracking import download; download.fetch('team/project')"
FETCH = [sys.executable, "-c", CODE]


@pytest.mark.slow
def test_what_is_downloaded_equals_what_was_trained(w: World) -> None:
    # One finished, one not.
    runs = [w.train(6, seed, mode="disabled", result=seed == 0) for seed in range(2)]
    with w.server:
        assert w.command("--project", "project").returncode == 0
        assert w.call(FETCH).returncode == 0
        histories = w.server.requests.count("HistoryPage")
        # The finished one is in the cache.
        assert w.call(FETCH).returncode == 0
        assert w.server.requests.count("HistoryPage") == histories + 1
    cache = w.runs.parent / "wandb-runs" / "team" / "project"
    for run in runs:
        assert (cache / run.name / "curves.jsonl").read_bytes() == run.curves.read_bytes()
    for ours, theirs in zip(frames.load(w.runs), frames.load(cache), strict=True):
        pd.testing.assert_frame_equal(ours.drop(columns="folder"), theirs.drop(columns="folder"))


def test_a_project_that_is_not_there_is_a_message(w: World) -> None:
    with w.server:
        done = w.call([*PLOT, "--wandb", "team/none"])
    assert done.returncode == 2
    assert "Could not find project none" in done.stderr
    assert "Traceback" not in done.stderr


def theirs(config: object, summary: object) -> SimpleNamespace:
    """A run as wandb's public API has it."""
    return SimpleNamespace(id="x", config=config, summary=summary)


def test_rows_that_were_changed_in_wandb_are_refused(tmp_path: Path, monkeypatch, small) -> None:
    config = keys.config(small(), {"commit": "c"})
    monkeypatch.setattr(wandb_api, "history", lambda run: [{"iteration": 4, "train_error": 2}])
    text = json.dumps({"iteration": 4, "train_error": 2.0}) + "\n"
    sha256 = download.hashlib.sha256(text.encode()).hexdigest()
    good = {"outcome": "done", "curves_sha256": sha256}
    assert download._fetch_run(theirs(config, good), tmp_path)
    assert (tmp_path / small().name / "curves.jsonl").read_text() == text
    with pytest.raises(RunDirError, match="not those that were trained"):
        download._fetch_run(theirs(config, good | {"curves_sha256": "0" * 64}), tmp_path / "other")


@pytest.mark.parametrize("config", [{}, {"run": None}, {"run": {"depth": "../.."}}])
def test_other_runs_of_the_project_are_passed_over(tmp_path: Path, config: dict) -> None:
    assert not download._fetch_run(theirs(config, {}), tmp_path)
    assert list(tmp_path.iterdir()) == []
