"""Draw the paper's figures and tables from run folders: no GPU, no network, no account, no torch.

    python analysis/plot_curves.py [runs/] [--out figures/]

For each study (runs that share data, recipe and numerics): Figure 1, Figure 6 with its overfitting
panel, error against depth, as PNG and SVG, each with the rows it was drawn from; and the errors
beside the paper's as Markdown and CSV. It draws what exists and says what trains the rest.
"""

import argparse
import sys
from pathlib import Path

import figures
import frames
import tables
from frames import Study
from matplotlib.figure import Figure
from tqdm import tqdm

from degradation import store

FIGURES = {
    "figure1": figures.figure1,
    "figure6": figures.figure6,
    "depth": figures.error_against_depth,
}
FORMATS = ("png", "svg")


def main() -> int:
    """The command; 1 where there is nothing to draw, 2 where a run can't be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="where the figures go")
    asked = parser.parse_args()
    try:
        studies = frames.studies(asked.runs)
    except store.Foreign as error:
        print(error, file=sys.stderr)
        return 2
    if not studies:
        print(f"{Path(asked.runs).resolve()} holds no run with a row yet; for example\n"
              "  python -m degradation.run +sweeps=quickstart", file=sys.stderr)  # fmt: skip
        return 1
    asked.out.mkdir(parents=True, exist_ok=True)
    for study in studies:
        draw(study, asked.out)
    return 0


def draw(study: Study, out: Path) -> None:
    """Every figure and table of one study, into `out`."""
    for name, make in tqdm(FIGURES.items(), desc=study.name, disable=None, leave=False):
        save(make(study), study, out / f"{study.name}-{name}")
    table = tables.errors(study)
    text = tables.markdown(table) if len(table) else ""
    table.to_csv(out / f"{study.name}-errors.csv", index=False)
    (out / f"{study.name}-errors.md").write_text(text)
    print(f"{study.name}: {out}/{study.name}-{{{','.join(FIGURES)}}}.{{{','.join(FORMATS)}}}, "
          f"{out}/{study.name}-errors.{{md,csv}}")  # fmt: skip
    print(text)
    for line in remarks(study):
        print(line)


def save(figure: Figure, study: Study, stem: Path) -> None:
    """The figure in every format, the same bytes each time, and its rows as CSV."""
    for kind in FORMATS:
        stem_kind = stem.with_name(f"{stem.name}.{kind}")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stem_kind, metadata=metadata)
    study.rows.to_csv(stem.with_name(f"{stem.name}.csv"), index=False)


def remarks(study: Study) -> list[str]:
    """What is unfinished, diverged or missing, and the command for it."""
    lines = []
    for name, rows in study.rows.groupby("run"):
        if (state := rows["state"].iloc[0]) != "done":
            lines.append(f"{state}: {name} ({rows['iteration'].max()}/{study.iterations})")
        if not rows["exact"].iloc[0]:
            lines.append(f"not exact: {name} (see its inexact.jsonl)")
    for arm, depths in figures.missing(study).items():
        named = ",".join(str(depth) for depth in depths)
        lines.append(f"missing: {arm} {named}; python -m degradation.run -m data={study.data} "
                     f"model={arm} depth={named}")  # fmt: skip
    return lines


if __name__ == "__main__":
    sys.exit(main())
