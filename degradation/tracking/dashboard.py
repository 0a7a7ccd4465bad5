"""A study's dashboard in W&B, as code: three saved views of its workspace, and a report.

    degradation dashboard                              what it would show
    degradation dashboard --save entity/project        save it in W&B
    degradation dashboard --media entity/project [runs/] [--figures figures/]
                                                       send figures and tables, as one run

Building needs no network, and `pip install 'degradation[dashboard]'`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from degradation.runs.run_dir import RunDirError
from degradation.system import console
from degradation.tracking import wandb_api

WIDTH, HEIGHT = 12, 9  # of a panel in the report, whose grid has 24 columns


@dataclass(frozen=True)
class Panel:
    """One panel; its keys are those of docs/what-is-logged.md."""

    title: str
    y: tuple[str, ...]
    by: str = "network"
    """The config key that makes the groups."""
    arm: str | None = None
    """The only arm it shows."""
    x: str = "iteration"
    """iteration: lines, the mean over the runs of a group; else a point a run, of its summary."""
    log_y: bool = False


PANELS = (
    Panel("Degradation: training error, plain", ("train_error",), by="depth", arm="plain"),
    Panel("The intervention: training error, residual", ("train_error",), "depth", "residual"),
    Panel("The gap: final training error by depth", ("last_train_error",), by="arm", x="depth"),
    Panel("Overfitting: test and training error", ("test_error", "train_error")),
    Panel("Learning rate", ("lr",), log_y=True),
    Panel("Gradient norm", ("gradient_norm",), log_y=True),
    Panel("Throughput: images a second", ("images_per_second",)),
)
TABLE = (
    "last_train_error",
    "last_test_error",
    "min_test_error",
    "paper_train_error",
    "paper_test_error",
    "test_error_minus_paper",
)
"""Columns of the table beside the paper's, of a run's summary."""
VIEWS: dict[str, str | None] = {
    "degradation: plain": "plain",
    "intervention: residual": "residual",
    "both arms": None,
}
"""The saved views, by the only arm that each shows: a workspace filters as a whole."""


def panels_of(arm: str | None) -> list[Panel]:
    """The panels of a view of one arm, or of both."""
    if arm is None:
        return [panel for panel in PANELS if panel.arm is None]
    return [panel for panel in PANELS if panel.arm in (None, arm) and panel.by != "arm"]


def views(entity: str, project: str) -> list[Any]:
    """The saved views, as `wandb_workspaces.workspaces.Workspace`."""
    import wandb_workspaces.workspaces as ws

    workspaces = []
    for name, arm in VIEWS.items():
        panels = [_panel(panel) for panel in panels_of(arm)]
        runset = ws.RunsetSettings(
            filters=[ws.Config("arm") == arm] if arm else [],
            groupby=[ws.Config("network")],
            pinned_columns=[f"summary:{key}" for key in TABLE],
        )
        workspaces.append(
            ws.Workspace(
                entity=entity,
                project=project,
                name=name,
                sections=[ws.Section(name=name, is_open=True, pinned=True, panels=panels)],
                settings=ws.WorkspaceSettings(x_axis="iteration", max_runs=100),
                runset_settings=runset,
            )
        )
    return workspaces


def report(entity: str, project: str) -> Any:
    """The report, as `wandb_workspaces.reports.v2.Report`: a panel with its own runs, each."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.P(text="Matched plain and residual networks of increasing depth.")]
    for panel in PANELS:
        arm = f"Config('arm') = '{panel.arm}'" if panel.arm else ""
        runs = wr.Runset(entity, project, name=panel.arm or "both arms", filters=arm)
        grid = wr.PanelGrid(runsets=[runs], panels=[_panel(panel)])
        blocks += [wr.H2(text=panel.title), grid]
    columns = [f"summary:{key}" for key in TABLE]
    table = wr.Runset(
        entity, project, name="beside the paper's", groupby=["network"], visible_columns=columns
    )
    blocks += [wr.H2(text="Beside the paper's"), wr.PanelGrid(runsets=[table])]
    return wr.Report(
        entity=entity,
        project=project,
        title="The degradation problem",
        description="Built by `degradation dashboard`",
        blocks=blocks,
    )


def _panel(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    layout = wr.Layout(w=WIDTH, h=HEIGHT)
    if panel.x != "iteration":
        x, y, z = wr.Config(panel.x), wr.SummaryMetric(panel.y[0]), wr.Config(panel.by)
        return wr.ScatterPlot(title=panel.title, layout=layout, x=x, y=y, z=z)
    return wr.LinePlot(
        title=panel.title,
        layout=layout,
        x=panel.x,
        y=list(panel.y),
        log_y=panel.log_y,
        groupby=wr.Config(panel.by),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_factor=0.0,
        max_runs_to_show=100,
    )


def describe() -> str:
    """The panels in words."""
    lines = [f"panel  {p.title:45} {', '.join(p.y)} against {p.x}, by {p.by}" for p in PANELS]
    lines.append(f"table  Beside the paper's: {', '.join(TABLE)}")
    return "\n".join([*lines, "views  " + ", ".join(VIEWS)])


def save(path: str) -> list[str]:
    """Save views and report in W&B; their addresses. Raises TrackingError."""
    entity, project = wandb_api.entity_and_project(path)
    wandb_api.check_key()
    addresses = []
    with wandb_api.tracking_errors():
        for one in (*views(entity, project), report(entity, project)):
            one.save()
            addresses.append(str(one.url))
    return addresses


def send_media(path: str, runs: Path, figures: Path) -> str:
    """Send what plot_curves.py has drawn to a run of its own, one a project; its address."""
    entity, project = wandb_api.entity_and_project(path)
    images, tables = sorted(figures.glob("*.png")), sorted(figures.glob("*-errors.csv"))
    if not images + tables:
        raise RunDirError(f"{figures} holds no figures: python analysis/plot_curves.py {runs}")
    where = {"entity": entity, "project": project, "id": "study-figures", "group": "study"}
    named = {"name": "figures", "job_type": "figures", "tags": ["figures"]}
    run = wandb_api.open_run(runs, to_server=True, **where, **named)
    with wandb_api.tracking_errors() as wandb:
        media = {f"figure/{image.stem}": wandb.Image(str(image)) for image in images}
        for table in tables:
            html = pd.read_csv(table).to_html(index=False)
            media[f"table/{table.stem}"] = wandb.Html(html, inject=False)
        run.log(media)
        run.finish(exit_code=0)
    return str(run.url)


def main(arguments: list[str]) -> int:
    """The command; 0. Raises RunDirError and TrackingError."""
    parser = console.parser("dashboard", __doc__)
    add = parser.add_argument
    add("runs", nargs="?", type=Path, default=Path("runs"))
    add("--save", metavar="ENTITY/PROJECT", help="save it in W&B")
    add("--media", metavar="ENTITY/PROJECT", help="send figures and tables there")
    add("--figures", type=Path, default=Path("figures"))
    options = parser.parse_args(arguments)
    try:
        for address in save(options.save) if options.save else []:
            print(address)
        if options.media:
            print(send_media(options.media, options.runs, options.figures))
    except ImportError as error:
        raise wandb_api.RefusedError(f"{error}: pip install 'degradation[dashboard]'") from error
    if not (options.save or options.media):
        print(describe())
    return 0
