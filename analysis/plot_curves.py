"""Draw the paper's figures and tables from run folders: no GPU, no network, no account, no torch.

    python analysis/plot_curves.py [runs/] [--out figures/] [--style paper|modern]
    python analysis/plot_curves.py --wandb entity/project     of runs in W&B, with an account

For each study (runs that share data, recipe and numerics): the paper's figures and those against
depth, as PNG, SVG and PDF, each with the rows it shows as CSV; and the errors beside the paper's as
Markdown, CSV and LaTeX. One more Figure 6, of the rows of those beside it, where only several data
sets together fill its panels.
For each side study its figure and its findings. It draws what exists and prints the commands that
train the rest.

Exit status: 0; 1 there is no run with a row; 2 a run can't be read; 5 the disk refused.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.page import command, missing
from analysis.plots import curves, depth, layer_responses, output, tables
from analysis.plots.style import STYLES, Style
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from analysis.why.finding import Finding
from degradation.system import console


@dataclass(frozen=True)
class Drawing:
    """A figure, the rows it shows, and whether a study can have it."""

    draw: Callable[[Study, Style], Figure]
    rows: Callable[[Study], pd.DataFrame]
    imagenet: bool | None = None
    """Whether it belongs to ImageNet alone, or to all other data; None: to all."""

    def suits(self, study: Study) -> bool:
        fits = self.imagenet is None or self.imagenet == (study.data == "imagenet")
        return fits and not self.rows(study).empty


def _rows(study: Study) -> pd.DataFrame:
    return study.rows


def _finals(study: Study) -> pd.DataFrame:
    return frames.last(study.rows)


FIGURES = {
    "figure1": Drawing(curves.figure1, _rows, imagenet=False),
    "figure4": Drawing(curves.figure4, _rows, imagenet=True),
    "figure6": Drawing(curves.figure6, _rows, imagenet=False),
    "figure7": Drawing(layer_responses.figure7, frames.responses),
    "depth": Drawing(depth.errors, _finals),
    "gap": Drawing(depth.gap, depth.gaps),
    "generalisation": Drawing(depth.generalisation, _finals),
    "speed": Drawing(depth.speed, _rows),
    "cost": Drawing(depth.cost, frames.timing),
}


def main() -> int:
    """The command; its exit status (see the module's docstring)."""
    return command.exit_status(_drawn, _parser().parse_args())


def _drawn(options: argparse.Namespace) -> int:
    if options.wandb:
        from degradation.tracking import download  # wandb, only for those who want it

        console.show_messages()
        options.runs = str(download.fetch(options.wandb))
    folder = frames.read(options.runs)
    if folder.empty:
        return command.no_runs(options.runs, "run with a row", "quickstart")
    style = STYLES[options.style]
    for study in folder.studies:
        draw(study, options.runs, options.out, style)
    draw_across(folder.studies, options.out, style)
    write_evaluations(options.runs, options.out)
    for finding in studies.findings(folder.runs, Rule()):
        draw_finding(finding, options.out, style)
    print(f"all of it on one page, and every run: python analysis/report.py {options.runs}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("figures"), help="folder of the figures and tables")
    add("--style", choices=sorted(STYLES), default="paper", help="how the figures look")
    add("--wandb", metavar="ENTITY/PROJECT", help="download the runs of a W&B project first")
    return parser


def draw(study: Study, folder: str, out: Path, style: Style) -> None:
    """Write every figure and table of one study into `out`; print its errors and what it lacks."""
    drawn = {name: drawing for name, drawing in FIGURES.items() if drawing.suits(study)}
    for name, drawing in tqdm(drawn.items(), desc=study.name, disable=None, leave=False):
        stem = f"{study.name}-{name}"
        _write_figure(drawing.draw(study, style), drawing.rows(study), out, stem, style)
    print(f"{out}/{study.name}-{{{','.join(drawn)}}}{_kinds(style)}")
    table = tables.formats(tables.errors(study), tables.TITLES, tables.error_cells)
    _write_table(table, out, f"{study.name}-errors")
    for line in remarks(study, folder):
        print(console.escape_control_chars(line))


def draw_across(studies: Sequence[Study], out: Path, style: Style) -> None:
    """Figure 6 from several data sets, where none of them alone fills its panels."""
    if (figure := curves.figure6_across(studies, style)) is not None:
        output.save(figure, out, f"figure6{_suffix(style)}")
        print(f"{out}/figure6{_kinds(style)}")


def write_evaluations(folder: str, out: Path) -> None:
    """The errors by ten crops and scales, where some run was evaluated so."""
    table = tables.evaluations(folder)
    if len(table):
        written = tables.formats(table, tables.CROP_TITLES, tables.crop_cells)
        _write_table(written, out, "imagenet-crops")


def draw_finding(finding: Finding, out: Path, style: Style) -> None:
    """Write the figure of a side study and the rows it shows; print its findings."""
    stem = f"{finding.study}-{finding.name}"
    _write_figure(finding.draw(style), finding.rows, out, stem, style)
    text = console.escape_control_chars(studies.text(finding))
    print(f"{out}/{stem}{_kinds(style)}\n{text}\n")


def _write_figure(figure: Figure, rows: pd.DataFrame, out: Path, stem: str, style: Style) -> None:
    output.write(out / f"{stem}.csv", rows.to_csv(index=False).encode())
    output.save(figure, out, stem + _suffix(style))


def _write_table(formats: Mapping[str, str], out: Path, stem: str) -> None:
    for kind, text in formats.items():
        output.write(out / f"{stem}.{kind}", text.encode())
    print(f"{out}/{stem}.{{{','.join(formats)}}}\n\n{formats['md']}")


def _suffix(style: Style) -> str:
    return "" if style.name == "paper" else f"-{style.name}"


def _kinds(style: Style) -> str:
    return f"{_suffix(style)}.{{{','.join(output.FORMATS)}}}"


def remarks(study: Study, folder: str) -> list[str]:
    """What is unfinished, diverged or missing below `folder`, and the command for it."""
    lines = []
    runs = pd.concat([study.rows.groupby("run").tail(1), study.idle.assign(iteration=0)])
    for run in runs.sort_values("run").to_dict("records"):
        if run["state"] != "done":
            lines.append(f"{run['state']}: {run['run']} ({run['iteration']}/{study.iterations})")
        if not run["exact"]:
            lines.append(f"not exact: {run['run']} (see its resume_mismatches.jsonl)")
    lacks = missing.lacks(study, folder)
    return lines + [f"{'; '.join(lack.what)}\n  {lack.command}" for lack in lacks]


if __name__ == "__main__":
    sys.exit(main())
