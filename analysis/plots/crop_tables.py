"""Tables 2 to 4 of ImageNet runs: ten crops and scales, top-1 / top-5, beside the paper's.

The numbers are those that `degradation evaluate crops` left in the runs' `evaluation.json`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from degradation.runs.run_dir import runs_in
from degradation.system.paths import PAPER

OPTIONS = {"none": "", "identity": " A", "projection": " B", "projection_all": " C"}
CLASSES = 1000  # of the paper's data: the errors of another set stand alone
COLUMNS = ("network", "n", "test", "averages", "top1", "top1_spread", "top5", "top5_spread",
           "paper_top1", "paper_top5")  # fmt: skip


def evaluations(folder: str | Path) -> pd.DataFrame:
    """A row a network, test and kind of averages: means over seeds in percent, their standard
    deviations (NaN for one seed), and the paper's ten crops. Raises RunDirError."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    theirs: dict[str, Mapping[str, float]] = {}
    for run in runs_in(folder):
        if (content := run.evaluated()) is None:
            continue
        config = run.config()
        network = f"{config.arm}-{config.depth}{OPTIONS[config.model.shortcut]}"
        theirs[network] = _paper().get(network, {}) if content["classes"] == CLASSES else {}
        for averages in ("running", "true"):
            for test, errors in content[averages].items():
                found.setdefault((network, test, averages), []).append(errors)
    lines = []
    for (network, test, averages), errors in found.items():
        line: dict[str, Any] = {"network": network, "n": len(errors), "test": test,
                                "averages": averages}  # fmt: skip
        for kind in ("top1", "top5"):
            values = [one[kind] for one in errors]
            line[kind] = fmean(values)
            line[f"{kind}_spread"] = stdev(values) if len(values) > 1 else None
            line[f"paper_{kind}"] = theirs[network].get(kind) if test == "ten_crops" else None
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _paper() -> dict[str, Mapping[str, float]]:
    """The paper's ten crops by network, in percent."""
    rows = pd.read_csv(PAPER / "ten_crops.csv").to_dict("records")
    return {
        f"{row['arm']}-{row['depth']}{OPTIONS[row['shortcut']]}": {
            kind: row[kind] for kind in ("top1", "top5") if pd.notna(row[kind])
        }
        for row in rows
    }


def markdown(table: pd.DataFrame) -> str:
    lines = [f"| {' | '.join(TITLES)} |", "|---|--:|---|---|--:|--:|--:|--:|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _cells(table, "±")]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """The same as a tabular; it needs \\usepackage{booktabs}."""
    head = [r"\begin{tabular}{lrllrrrr}", r"\toprule",
            " & ".join(TITLES).replace("%", r"\%") + r" \\", r"\midrule"]  # fmt: skip
    lines = [" & ".join(cells) + r" \\" for cells in _cells(table, r"$\pm$")]
    return "\n".join([*head, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {
    "md": markdown, "csv": lambda table: table.to_csv(index=False), "tex": latex,
}  # fmt: skip
TITLES = ("network", "n", "test", "averages", "top-1 error %", "the paper's", "top-5 error %",
          "the paper's")  # fmt: skip
_TESTS = {"ten_crops": "ten crops", "scales": "scales"}


def _cells(table: pd.DataFrame, plus_minus: str) -> list[list[str]]:
    lines = []
    for row in table.to_dict("records"):
        cells = [row["network"], str(row["n"]), _TESTS[row["test"]], row["averages"]]
        for kind in ("top1", "top5"):
            spread, theirs = row[f"{kind}_spread"], row[f"paper_{kind}"]
            more = f" {plus_minus} {spread:.2f}" if pd.notna(spread) else ""
            cells += [f"{row[kind]:.2f}{more}", f"{theirs:.2f}" if pd.notna(theirs) else "–"]
        lines.append(cells)
    return lines
