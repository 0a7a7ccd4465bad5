"""Tables beside the paper's: final errors and those before the first drop, as Markdown and CSV."""

from collections.abc import Hashable, Iterable
from typing import Any

import frames
import pandas as pd
from frames import Study

MOMENTS = {"": "at the end", "_before_drop": "before the first drop"}


def errors(study: Study) -> pd.DataFrame:
    """A row a network and quantity: ours (mean), spread (standard deviation, empty for one seed),
    n (seeds), paper, difference (ours − paper); in percent."""
    finals = frames.last(study.rows)
    moments = {"": finals, "_before_drop": frames.before_drop(study.rows)}
    lines = []
    for arm in ("plain", "residual"):
        for depth in study.depths(arm):
            for suffix, rows in moments.items():
                own = rows[(rows["arm"] == arm) & (rows["depth"] == depth)]
                lines += [
                    {"network": f"{arm}-{depth}", "quantity": quantity + suffix,
                     "ours": own[quantity].mean(), "spread": own[quantity].std(),
                     "n": len(own), "paper": _paper(study, arm, depth, quantity + suffix)}
                    for quantity in ("train_error", "test_error")
                ]  # fmt: skip
    table = pd.DataFrame(lines)
    if not table.empty:
        table["difference"] = table["ours"] - table["paper"]
    return table[table["n"] > 0].reset_index(drop=True) if not table.empty else table


def _paper(study: Study, arm: str, depth: int, quantity: str) -> float:
    theirs = frames.paper_errors()
    same = (theirs["arm"] == arm) & (theirs["depth"] == depth) & (theirs["quantity"] == quantity)
    found = theirs[same & study.as_the_paper]["value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def markdown(table: pd.DataFrame) -> str:
    """The errors as a Markdown table: a line a network, `ours ± spread (paper)` a cell."""
    quantities = [q + s for s in MOMENTS for q in ("train_error", "test_error")]
    titles = [f"{q.partition('_')[0]} error %, {m}" for m in MOMENTS.values()
              for q in ("train_error", "test_error")]  # fmt: skip
    lines = [_line(["network", "n", *titles]), _line(["---", "--:", *["--:"] * len(titles)])]
    for network, own in table.groupby("network", sort=False):
        cells = own.set_index("quantity").to_dict("index")
        shown = [_cell(cells[q]) if q in cells else "" for q in quantities]
        lines.append(_line([str(network), str(int(own["n"].max())), *shown]))
    return "\n".join(lines) + "\n"


def _cell(row: dict[Hashable, Any]) -> str:
    spread = f" ± {row['spread']:.2f}" if pd.notna(row["spread"]) else ""
    paper = f" (paper: {row['paper']:.2f})" if pd.notna(row["paper"]) else ""
    return f"{row['ours']:.2f}{spread}{paper}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
