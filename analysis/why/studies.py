"""Why it degrades: every finding that a folder's runs allow, data set by data set."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from textwrap import fill
from typing import Any

import pandas as pd

from analysis.stats.verdict_rules import Rule
from analysis.why import gradients, identity_init, interventions, onset, shortcut_scale, slow_start
from analysis.why.finding import Finding

Find = Callable[[pd.DataFrame, Rule], Iterator[Finding]]
STUDIES: Mapping[str, Find] = {
    "gradients": gradients.findings,
    "identity_init": identity_init.findings,
    "alpha": shortcut_scale.findings,
    "interventions": interventions.findings,
    "onset": onset.findings,
    "slow_start": slow_start.findings,
}


def findings(runs: pd.DataFrame, rule: Rule) -> list[Finding]:
    """What the runs of a folder say to each question; `runs`: see `frames.Folder`."""
    if runs.empty:
        return []
    return [
        finding
        for _, of_data in runs.groupby("data")
        for find in STUDIES.values()
        for finding in find(of_data, rule)
    ]


def text(finding: Finding) -> str:
    """The finding for people."""
    lines = [fill(f"{line.word:<14}{line.text}", 100, initial_indent="  ",
                  subsequent_indent=" " * 16) for line in finding.lines]  # fmt: skip
    return "\n".join([f"{finding.study}: {finding.question}", *lines])


def plain(finding: Finding) -> dict[str, Any]:
    """The finding as what JSON can say."""
    said = {key: getattr(finding, key) for key in ("study", "name", "question", "rule")}
    return said | {"lines": [dataclasses.asdict(line) for line in finding.lines]}
