"""Dashboards are built and checked as objects, without an account."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from degradation.runs.run_dir import RunDirError
from degradation.system.paths import TOP
from degradation.tracking import dashboard, keys, wandb_api
from degradation.tracking.dashboard import PANELS, TABLE, VIEWS, panels_of
from tests.tracking.conftest import KEY, World

DASHBOARD = [sys.executable, "-m", "degradation", "dashboard"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_every_panel_shows_keys_that_are_logged(small) -> None:
    config = keys.config(small(), {})
    rows = {*keys.CURVES, *keys.TIMING}
    row = dict.fromkeys(keys.CURVES, 1.0)
    papers = small(data__name="cifar10", depth=20, recipe__iterations=64_000)
    summary = keys.summary(papers, {"outcome": "done"}, [row])
    for panel in PANELS:
        assert panel.by in config
        if panel.x == "iteration":
            assert {panel.x, *panel.y} <= rows
        else:
            assert panel.x in config
            assert set(panel.y) <= set(summary)
    assert set(TABLE) - {"paper_train_error"} <= set(summary)


def test_saving_needs_a_key_and_a_project(monkeypatch) -> None:
    monkeypatch.setattr(wandb_api, "has_key", lambda: False)
    with pytest.raises(wandb_api.RefusedError, match="no W&B key is configured"):
        dashboard.main(["--save", "team/project"])
    with pytest.raises(RunDirError, match="must be entity/project"):
        dashboard.main(["--save", "project"])


def test_saving_sends_every_view_and_the_report(w: World) -> None:
    with w.server:
        done = w.call([*DASHBOARD, "--save", "team/project"])
    assert done.returncode == 0, done.stderr
    assert [v["displayName"] for v in w.server.views] == [*VIEWS, "The degradation problem"]
    for view, arm in zip(w.server.views, [*VIEWS.values(), None], strict=True):
        titles = [panel.title for panel in panels_of(arm)]
        assert (view["entityName"], view["projectName"]) == ("team", "project")
        assert all(json.dumps(title) in view["spec"] for title in titles)
    addresses = done.stdout.splitlines()
    assert len(addresses) == 4 and all("/team/project" in address for address in addresses)
    assert KEY not in done.stdout + done.stderr + "".join(v["spec"] for v in w.server.views)


def test_figures_and_tables_go_to_a_run_of_their_own(w: World, tmp_path: Path) -> None:
    shutil.copy(TOP / "docs" / "digits-figure6.png", tmp_path)
    (tmp_path / "digits-errors.csv").write_text("network,n\nplain-20,5\n")
    words = ["--media", "team/project", str(w.runs), "--figures", str(tmp_path)]
    with w.server:
        done = w.call([*DASHBOARD, *words])
    assert done.returncode == 0, done.stderr
    bucket = w.server.buckets["study-figures"]
    assert bucket.fields["jobType"] == "figures"
    assert {"figure/digits-figure6", "table/digits-errors"} <= set(bucket.rows[0])
    assert any(name.endswith(".png") for name in bucket.files)
