"""Reading back: what the figures are drawn from is byte for byte what was trained."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from degradation.runs.run_dir import RunDirError
from degradation.system.paths import TOP
from degradation.tracking import download, wandb_api
from tests.tracking.world import World, world

PLOT = [sys.executable, str(TOP / "analysis" / "plot_curves.py")]


@pytest.fixture
def w(tmp_path: Path):
    with world(tmp_path) as made:
        yield made


def test_the_figures_from_wandb_equal_the_local_ones(w: World) -> None:
    runs = []
    for seed in range(2):
        run = w.start(seed)
        w.kill_senders()
        w.row(run, 6)
        w.end(run, result=seed == 0)  # one finished, one not
        runs.append(run)
    with w.stub:
        assert w.command().returncode == 0
        local = w.call([*PLOT, str(w.runs), "--out", "local"])
        far = w.call([*PLOT, "--wandb", "team/project", "--out", "far"])
        assert far.returncode == 0, far.stderr
        asked = len([r for r in w.stub.requests if "HistoryPage" in r])
        again = w.call([*PLOT, "--wandb", "team/project", "--out", "far"])
        assert again.returncode == 0
        assert len([r for r in w.stub.requests if "HistoryPage" in r]) == asked + 1
    folder = w.runs.parent
    for run in runs:
        cached = folder / "wandb-runs" / "team" / "project" / run.name
        assert (cached / "curves.jsonl").read_bytes() == run.curves.read_bytes()
    names = {path.name for path in (folder / "local").iterdir()}
    assert names == {path.name for path in (folder / "far").iterdir()}
    assert {"digits-figure6.png", "digits-figure6.svg", "digits-figure6.pdf"} <= names
    for name in names:
        one, other = folder / "local" / name, folder / "far" / name
        if name.endswith(".csv") and "folder" in (rows := pd.read_csv(one)):
            pd.testing.assert_frame_equal(
                rows.drop(columns="folder"), pd.read_csv(other).drop(columns="folder")
            )
        else:
            assert one.read_bytes() == other.read_bytes(), name
    assert "W&B" not in local.stdout


def test_what_cannot_be_read_is_said(w: World) -> None:
    with w.stub:
        for path, key, said in [
            ("team", True, "must be entity/project"),
            ("team/none", True, "Could not find project none"),
            ("team/none", False, "no W&B key is configured"),
        ]:
            done = w.call([*PLOT, "--wandb", path], **({} if key else {"WANDB_API_KEY": ""}))
            assert done.returncode == 2
            assert said in done.stderr
            assert "Traceback" not in done.stderr


class Theirs:
    """A run as wandb's public API has it."""

    id = "x"

    def __init__(self, config: object, summary: object) -> None:
        self.config, self.summary = config, summary


def test_rows_that_were_changed_in_wandb_are_refused(tmp_path: Path, monkeypatch, small) -> None:
    from degradation.tracking import keys

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


def test_a_lost_network_names_the_cache(tmp_path: Path, monkeypatch) -> None:
    def unreachable(path: str) -> None:
        raise wandb_api.TrackingError("no route")

    monkeypatch.setattr(wandb_api, "project_runs", unreachable)
    with pytest.raises(RunDirError, match=r"no route.*the same command goes on"):
        download.fetch("team/project", tmp_path)
