"""What the page's template shows: plain values, which it escapes, and the JSON of charts."""

import os
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.page import charts, missing, verdict
from analysis.page.charts import Charts
from analysis.plots import depth, output, tables
from analysis.plots.style import MODERN, Style
from analysis.stats import claims
from analysis.stats.verdict_rules import Rule
from analysis.why.finding import Finding
from degradation.runs import run_dir
from degradation.runs.run_dir import RunDir

Draw = Callable[[Study, Style], Figure]
Rows = Callable[[Study], pd.DataFrame]
# The figures of `plot_curves.py` that the page shows as they are, where they have rows.
FIGURES: Mapping[str, tuple[Draw, Rows]] = {
    "What shortcuts are worth": (depth.gap, depth.gaps),
    "Overfitting against depth": (depth.generalisation, lambda study: frames.last(study.rows)),
    "How soon they learn": (depth.speed, lambda study: study.rows),
    "Time": (depth.cost, frames.timing),
}


def of_study(study: Study, folder: str) -> dict[str, Any]:
    """All that the page says of one study."""
    runs = study.runs
    judged = verdict.of(study, Rule())
    return {
        "name": study.name,
        "iterations": study.iterations,
        "states": states(runs["state"]),
        "devices": _counted(runs["device"]),
        "commits": _counted(runs["commit"]),
        "as_the_paper": study.as_the_paper,
        "verdict": judged,
        "tested": [c for c in judged.claims if c.status != claims.NOT_TESTED],
        "untested": [c for c in judged.claims if c.status == claims.NOT_TESTED],
        "titles": tables.TITLES,
        "errors": tables.error_cells(tables.errors(study)),
        "left_out": [(*why, ", ".join(moments)) for *why, moments in verdict.left_out(judged)],
        "lacks": missing.lacks(study, folder),
        "curves": _panels(charts.curves_over_training(study)),
        "depth": _panels(charts.errors_against_depth(study)),
        "responses": _panels(charts.layer_responses(study)),
        "figures": {
            title: image(draw(study, MODERN), f"{study.name}-{title}")
            for title, (draw, rows) in FIGURES.items()
            if not rows(study).empty
        },
    }


def of_finding(finding: Finding) -> dict[str, Any]:
    """A side study's answers, and its figure as `plot_curves.py` draws it."""
    name = f"{finding.study}-{finding.name}"
    return {"name": name, "finding": finding, "image": image(finding.draw(MODERN), name)}


def states(column: Iterable[str]) -> list[tuple[int, str]]:
    """How many runs are in each state, in the order of `run_dir.STATES`."""
    counts = Counter(column)
    return [(counts[state], state) for state in run_dir.STATES if counts[state]]


def run_list(runs: pd.DataFrame, page: Path) -> list[dict[Hashable, Any]]:
    """A line a run: what it is, its last row, why it ended early, and the way from `page` to it."""
    known = runs.astype(object).where(runs.notna(), None)
    return [_listed(run, RunDir(Path(run["folder"])), page) for run in known.to_dict("records")]


def _listed(run: dict[Hashable, Any], home: RunDir, page: Path) -> dict[Hashable, Any]:
    row = (home.rows() or [{}])[-1]
    result, failure = home.result() or {}, home.failure() or {}
    notes = [str(failure.get("message", ""))] if run["state"] == "failed" else []
    notes += [] if run["exact"] else ["resumed under other numerics (resume_mismatches.jsonl)"]
    return {
        **run,
        "link": quote(os.path.relpath(home.folder, page.parent)),
        "labels": ", ".join(label for label in (run["study"], run["variant"]) if label),
        "iteration": row.get("iteration", 0),
        "train_error": row.get("train_error"),
        "test_error": row.get("test_error"),
        "finished": result.get("finished"),
        "notes": notes,
    }


def image(figure: Figure, name: str) -> str:
    """A figure as the address of an image, the same each time."""
    content = b64encode(output.figure_bytes(figure, "svg", name)).decode()
    return f"data:image/svg+xml;base64,{content}"


def _panels(drawn: Charts) -> dict[str, Markup]:
    """Charts by title, as JSON that page.js hands to Plotly: nothing in it ends its script."""
    texts = {title: figure.to_json() for title, figure in drawn.items()}
    return {title: Markup(text.replace("<", r"\u003c")) for title, text in texts.items()}


def _counted(column: "pd.Series[Any]") -> list[tuple[str, int]]:
    """The values of a column with their number of runs."""
    counts = column.fillna("unknown").value_counts().sort_index(kind="stable")
    return [(str(value), int(count)) for value, count in counts.items()]
