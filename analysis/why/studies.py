"""Why it degrades: every finding that a folder's runs allow, data set by data set."""

import dataclasses
from collections.abc import Callable, Iterator
from textwrap import fill
from typing import Any

import pandas as pd

from analysis.stats.verdict_rules import Rule
from analysis.why import gradients, identity_init, interventions, onset, shortcut_scale, slow_start
from analysis.why.finding import Finding

STUDIES: tuple[Callable[[pd.DataFrame, Rule], Iterator[Finding]], ...] = (
    gradients.findings,
    identity_init.findings,
    shortcut_scale.findings,
    interventions.findings,
    onset.findings,
    slow_start.findings,
)


def findings(runs: pd.DataFrame, rule: Rule) -> list[Finding]:
    """The answers of a folder's runs to each question; `runs`: see `frames.Folder`."""
    if runs.empty:
        return []
    return [
        finding
        for _, of_data in runs.groupby("data")
        for find in STUDIES
        for finding in find(of_data, rule)
    ]


def text(finding: Finding) -> str:
    """The finding for people."""
    head = f"{finding.study}: {finding.question}"
    lines = [f"  {line.word:<14}{line.text}" for line in finding.lines]
    return "\n".join([head, *(fill(line, 100, subsequent_indent=" " * 16) for line in lines)])


def plain(finding: Finding) -> dict[str, Any]:
    """The finding as what JSON can hold."""
    content = {key: getattr(finding, key) for key in ("study", "name", "question", "rule")}
    return content | {"lines": [dataclasses.asdict(line) for line in finding.lines]}
