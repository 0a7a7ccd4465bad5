"""Bad input: every row of the tables is made, and must be told as people need it."""

import tempfile
from collections import Counter
from pathlib import Path

from . import faults_of_analysis, faults_of_configs, faults_of_data, faults_of_lines, faults_of_runs
from .fault import Fault, complaints
from .figure import Figure

TABLES = {
    "command lines": faults_of_lines.FAULTS,
    "files of a --config-dir": faults_of_configs.FAULTS,
    "run folders and machines": faults_of_runs.FAULTS,
    "data": faults_of_data.FAULTS,
    "the commands that look": faults_of_analysis.FAULTS,
}
FAULTS: list[Fault] = [fault for table in TABLES.values() for fault in table]


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """A line a table; the quick form takes every fourth row."""
    return [_figure(what, table[:: 1 if full else 4], folder) for what, table in TABLES.items()]


def _figure(what: str, table: list[Fault], folder: Path) -> Figure:
    bad = []
    for fault in table:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            if complaints(fault, Path(place)):
                bad.append(fault.name)
    ids = len(Counter(fault.id for fault in table))
    wanted = f"{len(table)} of {len(table)} told well ({ids} kinds)"
    got = f"{len(table) - len(bad)} of {len(table)}" + (f"; not {bad[0]}" if bad else "")
    return Figure("bad input", what, wanted, got, not bad)
