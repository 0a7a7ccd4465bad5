"""Dashboards are built and checked as objects, without an account."""

import json
import sys
from pathlib import Path

import pytest

from degradation.runs.run_dir import RunDirError
from degradation.system import files
from degradation.tracking import (
    dashboard,
    keys,
    panels,
    wandb_api,
)
from degradation.tracking.panels import (
    PANELS,
    TABLE,
    VIEWS,
    of_view,
)
from tests.tracking.mirror_world import world
from tests.tracking.wandb_stub import KEY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def test_every_panel_shows_keys_that_are_logged(small) -> None:
    config = keys.config(small(), {})
    rows = {*keys.COLUMNS, *keys.TIMING}
    row = dict.fromkeys(keys.COLUMNS, 1.0)
    config = small(data__name="cifar10", depth=20)
    summary = keys.summary(config, {"outcome": "done"}, [row])
    for panel in PANELS:
        assert panel.by in config
        if panel.kind == "lines":
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
        assert [p.title for p in section.panels] == [p.title for p in panels.of_view(arm)]
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


def test_saving_needs_a_key_and_says_so(monkeypatch, capsys) -> None:
    monkeypatch.setattr(wandb_api, "has_key", lambda: False)
    assert dashboard.main(["--save", "team/project"]) == 2
    assert "no W&B key is configured" in capsys.readouterr().err
    assert dashboard.main(["--save", "project"]) == 2
    assert "must be entity/project" in capsys.readouterr().err


def test_saving_sends_every_view_and_the_report(tmp_path: Path) -> None:
    with world(tmp_path) as w, w.stub:
        done = w.call(
            [sys.executable, "-m", "degradation.tracking.dashboard", "--save", "team/project"]
        )
    assert done.returncode == 0, done.stderr
    assert w.stub.unknown == []
    assert [v["displayName"] for v in w.stub.views] == [*VIEWS, "The degradation problem"]
    for view, arm in zip(w.stub.views, [*VIEWS.values(), None], strict=True):
        titles = [panel.title for panel in of_view(arm)]
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
        w.runs.mkdir()
        code = (
            "import sys; from degradation import dashboard; sys.exit(dashboard.main(sys.argv[1:]))"
        )
        words = ["--media", "team/project", str(w.runs), "--figures", str(figures)]
        done = w.call([dashboard.sys.executable, "-c", code, *words])
        assert done.returncode == 0, done.stderr
        bucket = w.stub.run("study-figures")
        assert bucket.fields["jobType"] == "figures"
        assert {"figure/digits-figure6", "table/digits-errors"} <= set(bucket.rows[0])
        assert any(name.endswith(".png") for name in bucket.files)


def test_without_figures_it_says_what_draws_them(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="plot_curves"):
        dashboard.send_media("team/project", tmp_path, tmp_path)
