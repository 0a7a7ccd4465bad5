"""Tables beside the paper's, in three formats: errors of networks, and those by crops and scales.

Tables 6 and 2 and the plain one are one table here, arm by arm. A difference lies in the paper's
band where it is at most twice the paper's own spread over five runs (110 layers: 0.16 points; Table
6), or ours where that is known and larger. Tables 2 to 4 of ImageNet have what `degradation
evaluate` left in the runs' `evaluation.json`.
"""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames import runs as frames
from analysis.frames.runs import ERRORS, MOMENTS, Study
from degradation.runs.run_dir import runs_in
from degradation.runs.summary import mean_and_std
from degradation.system.paths import PAPER

Cells = list[list[str]]
QUANTITIES = [f"{error}{suffix}" for suffix in MOMENTS for error in ERRORS]
TITLES = ["network", "n"]
TITLES += [f"{error} error %, {m}" for m in MOMENTS.values() for error in ("train", "test")]
CROP_TITLES = ["network", "n", "test", "averages", "top-1 error %", "the paper's"]
CROP_TITLES += ["top-5 error %", "the paper's"]
OPTIONS = {"none": "", "identity": " A", "projection": " B", "projection_all": " C"}
CLASSES = 1000  # of the paper's data: the errors of another set stand alone
_TESTS = {"ten_crops": "ten crops", "scales": "scales"}


def errors(study: Study) -> pd.DataFrame:
    """A row a network and quantity: ours (mean), spread (standard deviation, NaN for one seed), n
    (seeds), paper, difference (ours − paper), in_band (NaN where the paper has no number)."""
    moments = {"": frames.last(study.rows), "_before_drop": frames.before_drop(study.rows)}
    keys, parts = ["arm", "depth"], []
    for suffix, rows in moments.items():
        wide = rows.set_index(keys)[ERRORS].add_suffix(suffix)
        parts.append(wide.melt(var_name="quantity", ignore_index=False).reset_index())
    found = pd.concat(parts).groupby([*keys, "quantity"], sort=False)["value"]
    table = found.agg(["mean", "std", "size"]).reset_index()
    table = table.sort_values(keys, kind="stable", ignore_index=True)
    table = table.rename(columns={"mean": "ours", "std": "spread", "size": "n"})
    table.insert(0, "network", table["arm"] + "-" + table["depth"].astype(str))
    theirs = frames.paper_errors().set_index(["data", *keys, "quantity"])["value"]
    spread = theirs.xs("test_error_spread", level="quantity").iloc[0]  # of five runs
    own = theirs[theirs.index.isin([study.data] if study.as_the_paper else [], level="data")]
    table = table.join(own.rename("paper").droplevel("data"), on=[*keys, "quantity"])
    table["difference"] = table["ours"] - table["paper"]
    band = 2 * table["spread"].clip(lower=spread).fillna(spread)
    table["in_band"] = (table["difference"].abs() <= band).where(table["paper"].notna())
    return table.drop(columns=keys)


def error_cells(table: pd.DataFrame, plus_minus: str = "±") -> Cells:
    """A line a network, `ours ± spread (paper: x)` a cell; `*` behind what is out of its band, and
    n where a cell has fewer seeds than the network."""
    lines = []
    for network, own in table.groupby("network", sort=False):
        n, rows = int(own["n"].max()), own.set_index("quantity").to_dict("index")
        cells = [_error_cell(rows[q], n, plus_minus) if q in rows else "" for q in QUANTITIES]
        lines.append([str(network), str(n), *cells])
    return lines


def _error_cell(row: dict[Hashable, Any], n: int, plus_minus: str) -> str:
    cell = mean_and_std(row["ours"], row["spread"], plus_minus)
    if pd.notna(row["paper"]):
        cell += f" (paper: {row['paper']:.2f}){'' if row['in_band'] else '*'}"
    return cell if row["n"] == n else f"{cell} n={row['n']}"


# ---- crops and scales


def evaluations(folder: str | Path) -> pd.DataFrame:
    """A row a network, test and kind of averages: n, mean and spread over seeds, in percent, and
    the paper's ten crops. Raises RunDirError."""
    lines = [
        {
            "network": f"{config.arm}-{config.depth}{OPTIONS[config.model.shortcut]}",
            "test": test,
            "averages": averages,
            "classes": content["classes"],
        }
        | {kind: errors[kind] for kind in ("top1", "top5")}
        for run in runs_in(folder)
        if (content := run.evaluated()) is not None
        for config in [run.config()]
        for averages in ("running", "true")
        for test, errors in content[averages].items()
    ]
    if not lines:
        return pd.DataFrame()
    found = pd.DataFrame(lines).groupby(["network", "test", "averages", "classes"], sort=False)
    table = found.size().rename("n").to_frame()
    for kind in ("top1", "top5"):
        table[[kind, f"{kind}_spread"]] = found[kind].agg(["mean", "std"])
    table = table.reset_index().merge(_paper_crops(), on=["network", "test", "classes"], how="left")
    return table.drop(columns="classes")


def _paper_crops() -> pd.DataFrame:
    """The paper's ten crops: network, test, classes, paper_top1, paper_top5 in percent."""
    rows = pd.read_csv(PAPER / "ten_crops.csv")
    options = rows["shortcut"].map(OPTIONS)
    rows["network"] = rows["arm"] + "-" + rows["depth"].astype(str) + options
    rows = rows.rename(columns={"top1": "paper_top1", "top5": "paper_top5"})
    columns = ["network", "test", "classes", "paper_top1", "paper_top5"]
    return rows.assign(test="ten_crops", classes=CLASSES)[columns]


def crop_cells(table: pd.DataFrame, plus_minus: str = "±") -> Cells:
    lines = []
    for row in table.to_dict("records"):
        cells = [row["network"], str(row["n"]), _TESTS[row["test"]], row["averages"]]
        for kind in ("top1", "top5"):
            paper = row[f"paper_{kind}"]
            cells.append(mean_and_std(row[kind], row[f"{kind}_spread"], plus_minus))
            cells.append("–" if pd.isna(paper) else f"{paper:.2f}")
        lines.append(cells)
    return lines


# ---- formats


def formats(
    table: pd.DataFrame, titles: list[str], cells: Callable[[pd.DataFrame, str], Cells]
) -> dict[str, str]:
    """A table by file name extension: as Markdown, as CSV with all its digits, and as a LaTeX
    tabular, which needs \\usepackage{booktabs}."""
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)], *cells(table, "±")]
    columns = "l" + "r" * (len(titles) - 1)
    latex = pd.DataFrame(cells(table, r"$\pm$"), columns=titles)
    return {
        "md": "".join(f"| {' | '.join(line)} |\n" for line in lines),
        "csv": table.to_csv(index=False),
        "tex": latex.to_latex(index=False, column_format=columns).replace("%", r"\%"),
    }
