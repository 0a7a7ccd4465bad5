"""Dashboards are built and checked as objects, without an account."""

import json
import sys
from pathlib import Path

import pytest

from degradation.runs.run_dir import RunDirError
from degradation.system import files
from degradation.tracking import dashboard, keys, wandb_api
from degradation.tracking.dashboard import PANELS, TABLE, VIEWS, panels_of
from tests.tracking.wandb_stub import KEY
from tests.tracking.world import world

DASHBOARD = [sys.executable, "-m", "degradation", "dashboard"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_every_panel_shows_keys_that_are_logged(small) -> None:
    config = keys.config(small(), {})
    rows = {*keys.CURVES, *keys.TIMING}
    row = dict.fromkeys(keys.CURVES, 1.0)
    summary = keys.summary(small(data__name="cifar10", depth=20), {"outcome": "done"}, [row])
    for panel in PANELS:
        assert panel.by in config
        if panel.x == "iteration":
            assert {panel.x, *panel.y} <= rows
        else:
            assert panel.x in config
            assert set(panel.y) <= set(summary)
    assert set(TABLE) - {"paper_train_error"} <= set(summary)


def test_the_views_are_built_without_network_or_key(monkeypatch) -> None:
    ws = pytest.importorskip("wandb_workspaces.workspaces", exc_type=ImportError)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    views = dashboard.views("team", "project")
    assert [view.name for view in views] == list(VIEWS)
    for view, arm in zip(views, VIEWS.values(), strict=True):
        assert isinstance(view, ws.Workspace)
        (section,) = view.sections
        assert [p.title for p in section.panels] == [p.title for p in panels_of(arm)]
        wanted = "" if arm is None else f"Config(\"arm\") == '{arm}'"
        assert (view.runset_settings.filters or "") == wanted
        assert json.loads(view._to_model().model_dump_json(by_alias=True))
    assert views[0].sections[0].panels[0].groupby.name == "depth"


def test_the_report_has_every_panel_with_the_runs_it_is_of(monkeypatch) -> None:
    wr = pytest.importorskip("wandb_workspaces.reports.v2", exc_type=ImportError)
    report = dashboard.report("team", "project")
    grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    assert [g.panels[0].title for g in grids if g.panels] == [p.title for p in PANELS]
    assert [bool(g.runsets[0].filters) for g in grids] == [bool(p.arm) for p in PANELS] + [False]
    assert any("cifar10 residual-110" in getattr(block, "text", "") for block in report.blocks)


def test_saving_needs_a_key_and_a_project(monkeypatch) -> None:
    monkeypatch.setattr(wandb_api, "has_key", lambda: False)
    with pytest.raises(wandb_api.RefusedError, match="no W&B key is configured"):
        dashboard.main(["--save", "team/project"])
    with pytest.raises(RunDirError, match="must be entity/project"):
        dashboard.main(["--save", "project"])


def test_saving_sends_every_view_and_the_report(tmp_path: Path) -> None:
    with world(tmp_path) as w, w.stub:
        done = w.call([*DASHBOARD, "--save", "team/project"])
    assert done.returncode == 0, done.stderr
    assert w.stub.unknown == []
    assert [v["displayName"] for v in w.stub.views] == [*VIEWS, "The degradation problem"]
    for view, arm in zip(w.stub.views, [*VIEWS.values(), None], strict=True):
        titles = [panel.title for panel in panels_of(arm)]
        assert (view["entityName"], view["projectName"]) == ("team", "project")
        assert all(json.dumps(title) in view["spec"] for title in titles)
    addresses = done.stdout.splitlines()
    assert len(addresses) == 4 and all("/team/project" in address for address in addresses)
    assert KEY not in done.stdout + done.stderr + "".join(v["spec"] for v in w.stub.views)


def test_figures_and_tables_go_to_a_run_of_their_own(tmp_path: Path) -> None:
    with world(tmp_path) as w, w.stub:
        figures = tmp_path / "figures"
        figures.mkdir()
        source = Path(__file__).parents[2] / "docs" / "digits-figure6.png"
        files.write_atomically(figures / "digits-figure6.png", source.read_bytes())
        files.write_atomically(figures / "digits-errors.csv", b"network,n\nplain-20,5\n")
        words = ["--media", "team/project", str(w.runs), "--figures", str(figures)]
        done = w.call([*DASHBOARD, *words])
        assert done.returncode == 0, done.stderr
        bucket = w.stub.run("study-figures")
        assert bucket.fields["jobType"] == "figures"
        assert {"figure/digits-figure6", "table/digits-errors"} <= set(bucket.rows[0])
        assert any(name.endswith(".png") for name in bucket.files)


def test_without_figures_it_says_what_draws_them(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="plot_curves"):
        dashboard.send_media("team/project", tmp_path, tmp_path)
