"""A study's dashboard in W&B: three saved views of its workspace, and a report; as code.

    degradation dashboard                              what it would show
    degradation dashboard --save entity/project        saved in W&B
    degradation dashboard --media entity/project [runs/] [--figures figures/]
                                                                 figures and tables, as one run

Building needs no network; `pip install 'degradation[dashboard]'`. The panels are those of
`panels.py`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from degradation.runs import reference
from degradation.runs.run_dir import RunDirError
from degradation.tracking import panels, wandb_api
from degradation.tracking.panels import (
    PANELS,
    TABLE,
    VIEWS,
    Panel,
)
from degradation.tracking.wandb_api import Address

WIDTH, HEIGHT = 12, 9  # of a panel, in the grid's 24 columns


def views(entity: str, project: str) -> list[Any]:
    """The saved views, as `wandb_workspaces.workspaces.Workspace`."""
    import wandb_workspaces.workspaces as ws

    return [
        ws.Workspace(
            entity=entity, project=project, name=name,
            sections=[ws.Section(name=name, is_open=True, pinned=True,
                                 panels=[_panel(p, i) for i, p in enumerate(panels.of_view(arm))])],
            settings=ws.WorkspaceSettings(x_axis="iteration", max_runs=100),
            runset_settings=ws.RunsetSettings(
                filters=[ws.Config("arm") == arm] if arm else [],
                groupby=[ws.Config("network")],
                pinned_columns=[f"summary:{key}" for key in TABLE],
            ),
        )
        for name, arm in VIEWS.items()
    ]  # fmt: skip


def report(entity: str, project: str) -> Any:
    """The report, as `wandb_workspaces.reports.v2.Report`: a panel with its own runs, each."""
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.P(text="Matched plain and residual networks of increasing depth.")]
    for panel in PANELS:
        arm = f"Config('arm') = '{panel.arm}'" if panel.arm else ""
        runs = wr.Runset(entity, project, name=panel.arm or "both arms", filters=arm)
        grid = wr.PanelGrid(runsets=[runs], panels=[_panel(panel, 0)])
        blocks += [wr.H2(text=panel.title), grid]
    table = wr.Runset(entity, project, name="beside the paper's", groupby=["network"],
                      visible_columns=[f"summary:{key}" for key in TABLE])  # fmt: skip
    blocks += [wr.H2(text="Beside the paper's"), wr.PanelGrid(runsets=[table]),
               wr.MarkdownBlock(text=paper_table())]  # fmt: skip
    return wr.Report(
        entity=entity, project=project, title="The degradation problem", blocks=blocks,
        description="Built by `degradation dashboard`",
    )  # fmt: skip


def _panel(panel: Panel, index: int) -> Any:
    import wandb_workspaces.reports.v2 as wr

    layout = wr.Layout(x=WIDTH * (index % 2), y=HEIGHT * (index // 2), w=WIDTH, h=HEIGHT)
    if panel.kind == "points":
        return wr.ScatterPlot(title=panel.title, layout=layout, x=wr.Config(panel.x),
                              y=wr.SummaryMetric(panel.y[0]), z=wr.Config(panel.by))  # fmt: skip
    return wr.LinePlot(
        title=panel.title, layout=layout, x=panel.x, y=list(panel.y), log_y=panel.log_y,
        groupby=wr.Config(panel.by), groupby_aggfunc="mean", groupby_rangefunc="minmax",
        smoothing_factor=0.0, max_runs_to_show=100,
    )  # fmt: skip


def paper_table() -> str:
    """The paper's errors in Markdown."""
    lines = ["| the paper's | train error % | test error % |", "|---|--:|--:|"]
    networks = dict.fromkeys(key[:3] for key in reference.errors())
    for data, arm, depth in networks:
        values = [reference.errors().get((data, arm, depth, quantity)) for quantity in
                  ("train_error", "test_error")]  # fmt: skip
        cells = " | ".join("–" if value is None else f"{value:.2f}" for value in values)
        lines.append(f"| {data} {arm}-{depth} | {cells} |")
    return "\n".join(lines)


def describe() -> str:
    """The panels in words."""
    lines = [f"{p.kind:6}  {p.title:45} {', '.join(p.y)} against {p.x}, by {p.by}" for p in PANELS]
    lines.append(f"table   Beside the paper's: {', '.join(TABLE)}")
    lines.append("views   " + ", ".join(VIEWS))
    return "\n".join(lines)


def save(path: str) -> list[str]:
    """Save views and report in W&B; their addresses. Raises remote.Refused and Unreachable."""
    entity, project = _split(path)
    if not wandb_api.has_key():
        raise wandb_api.Refused("no W&B key is configured: `wandb login`, or set WANDB_API_KEY")
    saved = []
    with wandb_api.in_our_words():
        for one in (*views(entity, project), report(entity, project)):
            one.save()
            saved.append(str(one.url))
    return saved


def send_media(path: str, runs: Path, figures: Path) -> str:
    """Send what `plot_curves.py` has drawn to a run of its own, one a project; its address."""
    entity, project = _split(path)
    files = [p for kind in ("png", "csv") for p in sorted(figures.glob(f"*.{kind}"))
             if kind == "png" or p.stem.endswith("-errors")]  # fmt: skip
    if not files:
        raise RunDirError(f"{figures} holds no figures: python analysis/plot_curves.py {runs}")
    address = Address(project, entity, "study-figures")
    return wandb_api.send_media(address, runs, files, name="figures", group="study",
                             job_type="figures", tags=["figures"])  # fmt: skip


def _split(path: str) -> tuple[str, str]:
    entity, slash, project = path.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise RunDirError(f"{path}: must be entity/project")
    return entity, project


def main(arguments: list[str]) -> int:
    """The command; 2 where it can't be done."""
    parser = argparse.ArgumentParser(
        prog="degradation dashboard", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"))
    parser.add_argument("--save", metavar="ENTITY/PROJECT", help="save it in W&B")
    parser.add_argument("--media", metavar="ENTITY/PROJECT", help="send figures and tables there")
    parser.add_argument("--figures", type=Path, default=Path("figures"))
    asked = parser.parse_args(arguments)
    try:
        for address in save(asked.save) if asked.save else []:
            print(address)
        if asked.media:
            print(send_media(asked.media, asked.runs, asked.figures))
        if not (asked.save or asked.media):
            print(describe())
    except ImportError as error:
        print(f"{error}: pip install 'degradation[dashboard]'", file=sys.stderr)
        return 2
    except (RunDirError, wandb_api.Absent, wandb_api.Refused, wandb_api.Unreachable) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
