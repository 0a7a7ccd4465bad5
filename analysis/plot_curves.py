"""Draw the paper's figures and tables from run folders: no GPU, no network, no account, no torch.

    python analysis/plot_curves.py [runs/] [--out figures/] [--style paper|modern]
    python analysis/plot_curves.py --wandb entity/project     of runs in W&B, with an account

For each study (runs that share data, recipe and numerics): the paper's figures and those against
depth, as PNG, SVG and PDF, each with the rows it was drawn from; and the errors beside the paper's
as Markdown, CSV and LaTeX. For each study of why nets degrade (why.py) its figure and verdict. It
draws what exists and says what trains the rest.
"""

import argparse
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.page import missing
from analysis.plots import crop_tables, curves, depth, layer_responses, output, tables
from analysis.plots.markup import shown
from analysis.plots.style import LOOKS, Look
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from analysis.why.finding import Finding
from degradation.runs import run_dir


@dataclass(frozen=True)
class Drawing:
    """A figure, the rows it shows, and whether a study can have it."""

    draw: Callable[[Study, Look], Figure]
    rows: Callable[[Study], pd.DataFrame]
    only: str | None = None
    """The data it belongs to."""
    never: str | None = None
    """Data that has another figure instead."""

    def suits(self, study: Study) -> bool:
        fits = self.only in (None, study.data) and self.never != study.data
        return fits and not self.rows(study).empty


def _rows(study: Study) -> pd.DataFrame:
    return study.rows


def _finals(study: Study) -> pd.DataFrame:
    return frames.last(study.rows)


FIGURES = {
    "figure1": Drawing(curves.figure1, _rows, never="imagenet"),
    "figure4": Drawing(curves.figure4, _rows, only="imagenet"),
    "figure6": Drawing(curves.figure6, _rows, never="imagenet"),
    "figure7": Drawing(layer_responses.figure7, frames.responses),
    "depth": Drawing(depth.errors, _finals),
    "gap": Drawing(depth.gap, depth.gaps),
    "generalisation": Drawing(depth.generalisation, _finals),
    "speed": Drawing(depth.speed, _rows),
    "cost": Drawing(depth.cost, frames.timing),
}
FORMATS = ("png", "svg", "pdf")
# What would date a file: left out of it.
UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def main() -> int:
    """The command; 1 where there is nothing to draw, 2 where a run can't be read, 5 where the disk
    refuses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where the figures go")
    parser.add_argument("--style", choices=sorted(LOOKS), default="paper")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="draw the runs of a W&B project")
    asked = parser.parse_args()
    try:
        if asked.wandb:
            asked.runs = str(_fetched(asked.wandb))
        folder = frames.read(asked.runs)
        if folder.empty:
            where = shown(str(Path(asked.runs).resolve()))
            print(f"{where} holds no run with a row yet; for example\n"
                  "  python -m degradation.run +sweeps=quickstart", file=sys.stderr)  # fmt: skip
            return 1
        look = LOOKS[asked.style]
        for study in folder.studies:
            draw(study, asked.runs, asked.out, look)
        write_evaluations(asked.runs, asked.out)
        for finding in studies.findings(folder.runs, Rule()):
            draw_finding(finding, asked.out, look)
    except run_dir.RunDirError as error:
        print(shown(str(error)), file=sys.stderr)
        return 2
    except output.StorageError as error:
        print(output.refusal(error), file=sys.stderr)
        return 5
    print(f"all of it on one page, and every run: python analysis/report.py {asked.runs}")
    return 0


def _fetched(path: str) -> Path:
    """A folder of the run folders of a W&B project. Raises run_dir.RunDirError."""
    from degradation.system import console  # wandb, only for those who ask for it
    from degradation.tracking import download

    console.show_messages()
    return download.fetch(path)


def draw(study: Study, folder: str, out: Path, look: Look) -> None:
    """Every figure and table of one study, into `out`; what it lacks below `folder`, in words."""
    suffix = "" if look.name == "paper" else f"-{look.name}"
    drawn = {name: drawing for name, drawing in FIGURES.items() if drawing.suits(study)}
    for name, drawing in tqdm(drawn.items(), desc=study.name, disable=None, leave=False):
        stem = f"{study.name}-{name}"
        output.write(out / f"{stem}.csv", tables.csv(drawing.rows(study)).encode())
        save(drawing.draw(study, look), out, f"{stem}{suffix}")
    table = tables.errors(study)
    for kind, text in tables.FORMATS.items():
        output.write(out / f"{study.name}-errors.{kind}", text(table).encode())
    names, kinds = ",".join(drawn), ",".join(FORMATS)
    print(f"{study.name}: {out}/{study.name}-{{{names}}}{suffix}.{{{kinds}}}, "
          f"{out}/{study.name}-errors.{{{','.join(tables.FORMATS)}}}\n")  # fmt: skip
    print(tables.markdown(table))
    for line in remarks(study, folder):
        print(shown(line))


def write_evaluations(folder: str, out: Path) -> None:
    """The errors by ten crops and scales, where some run was evaluated so."""
    table = crop_tables.evaluations(folder)
    if table.empty:
        return
    for kind, text in crop_tables.FORMATS.items():
        output.write(out / f"imagenet-crops.{kind}", text(table).encode())
    kinds = ",".join(crop_tables.FORMATS)
    print(f"{out}/imagenet-crops.{{{kinds}}}\n\n{crop_tables.markdown(table)}")


def draw_finding(finding: Finding, out: Path, look: Look) -> None:
    """The figure of a study of why, the rows it shows, and what the verdict says of them."""
    stem = f"{finding.study}-{finding.name}"
    suffix = "" if look.name == "paper" else f"-{look.name}"
    output.write(out / f"{stem}.csv", tables.csv(finding.rows).encode())
    save(finding.draw(look), out, f"{stem}{suffix}")
    print(f"{out}/{stem}{suffix}.{{{','.join(FORMATS)}}}\n{shown(studies.text(finding))}\n")


def save(figure: Figure, out: Path, stem: str) -> None:
    """The figure in every format, with the same bytes each time."""
    with matplotlib.rc_context({"svg.hashsalt": stem}):
        for kind in FORMATS:
            content = io.BytesIO()
            figure.savefig(content, format=kind, metadata=UNDATED[kind])
            output.write(out / f"{stem}.{kind}", content.getvalue())


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
    lines += [f"{'; '.join(lack.what)}\n  {lack.command}" for lack in lacks]
    return lines


if __name__ == "__main__":
    sys.exit(main())
