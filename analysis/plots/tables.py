"""Tables beside the paper's: final errors and those before the first drop, in three formats.

Tables 6 and 2 and the plain one are one table here, arm by arm. A difference lies in the paper's
band where it is at most twice the paper's own spread over five runs (110 layers: 0.16 points; Table
6), or ours where that is known and larger.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pandas as pd

from analysis.frames import runs
from analysis.frames.runs import MOMENTS, Study
from analysis.plots.markup import shown

QUANTITIES = [f"{q}{s}" for s in MOMENTS for q in ("train_error", "test_error")]
TITLES = [f"{q} error %, {m}" for m in MOMENTS.values() for q in ("train", "test")]
COLUMNS = ["network", "quantity", "ours", "spread", "n", "paper", "difference", "in_band"]


def errors(study: Study) -> pd.DataFrame:
    """A row a network and quantity: ours (mean), spread (standard deviation, NaN for one seed), n
    (seeds), paper, difference (ours − paper), in_band (NaN where the paper has no number)."""
    finals = runs.last(study.rows)
    moments = {"": finals, "_before_drop": runs.before_drop(study.rows)}
    lines = []
    for arm in ("plain", "residual"):
        for depth in study.depths(arm):
            for suffix, rows in moments.items():
                own = rows[(rows["arm"] == arm) & (rows["depth"] == depth)]
                lines += [
                    {"network": f"{arm}-{depth}", "quantity": quantity + suffix,
                     "ours": own[quantity].mean(), "spread": own[quantity].std(),
                     "n": len(own), "paper": _paper(study, arm, depth, quantity + suffix)}
                    for quantity in ("train_error", "test_error") if len(own)
                ]  # fmt: skip
    table = pd.DataFrame(lines, columns=COLUMNS[:6])
    table["difference"] = table["ours"] - table["paper"]
    spread = paper_spread()
    band = 2 * table["spread"].clip(lower=spread).fillna(spread)
    table["in_band"] = (table["difference"].abs() <= band).where(table["paper"].notna())
    return table


def paper_spread() -> float:
    """The standard deviation of the paper's five runs of residual-110, in points."""
    theirs = runs.paper_errors()
    return float(theirs[theirs["quantity"] == "test_error_spread"]["value"].iloc[0])


def _paper(study: Study, arm: str, depth: int, quantity: str) -> float:
    theirs = runs.paper_errors()
    same = (theirs["arm"] == arm) & (theirs["depth"] == depth) & (theirs["quantity"] == quantity)
    found = theirs[same & (theirs["data"] == study.data) & study.as_the_paper]["value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def markdown(table: pd.DataFrame) -> str:
    """A line a network, `ours ± spread (paper: x)` a cell; `*` behind what is out of its band."""
    lines = [_line(["network", "n", *TITLES]), _line(["---", "--:", *["--:"] * len(TITLES)])]
    lines += [_line(cells) for cells in text_cells(table, "±")]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """The same as a tabular; it needs \\usepackage{booktabs}."""
    titles = " & ".join(["network", "$n$", *TITLES]).replace("%", r"\%")
    lines = [
        " & ".join(cells).replace("%", r"\%") + r" \\" for cells in text_cells(table, r"$\pm$")
    ]
    head = [r"\begin{tabular}{lr" + "r" * len(TITLES) + "}", r"\toprule", rf"{titles} \\"]
    return "\n".join([*head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv(table: pd.DataFrame) -> str:
    """The rows as they are; text that a spreadsheet would run as a formula gets a `'` in front."""
    words = table.select_dtypes(include=["object", "string", "category"]).columns
    safe = {name: table[name].map(_harmless) for name in words}
    return table.assign(**safe).to_csv(index=False)


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return f"'{shown(cell)}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else shown(cell)


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {"md": markdown, "csv": csv, "tex": latex}


def text_cells(table: pd.DataFrame, plus_minus: str) -> list[list[str]]:
    lines = []
    for network, own in table.groupby("network", sort=False):
        cells = own.set_index("quantity").to_dict("index")
        shown = [_cell(cells[q], plus_minus) if q in cells else "" for q in QUANTITIES]
        lines.append([str(network), str(int(own["n"].max())), *shown])
    return lines


def _cell(row: dict[Hashable, Any], plus_minus: str) -> str:
    spread = f" {plus_minus} {row['spread']:.2f}" if pd.notna(row["spread"]) else ""
    if pd.isna(row["paper"]):
        return f"{row['ours']:.2f}{spread}"
    return f"{row['ours']:.2f}{spread} (paper: {row['paper']:.2f}){'' if row['in_band'] else '*'}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
