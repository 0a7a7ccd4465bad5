"""The one table of final errors: mean ± standard deviation, n, and the paper's number beside it."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from degradation.runs import reference
from degradation.runs.columns import ERRORS

IDENTITY = ("data", "arm", "depth", "shortcut", "protocol")


@dataclass(frozen=True)
class Error:
    """One error of one network, in percent: a value a seed, and the paper's where it has one."""

    values: tuple[float, ...]
    paper: float | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation; None of a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return mean_and_std(self.mean, self.std)


@dataclass(frozen=True)
class NetworkErrors:
    """The final errors of the seeds of one network."""

    network: str
    n: int
    errors: dict[str, Error]
    """By column."""


def mean_and_std(mean: float, std: float | None, plus_minus: str = "±") -> str:
    """`6.61 ± 0.16`, or the bare mean where there is no spread."""
    return f"{mean:.2f}" if std is None else f"{mean:.2f} {plus_minus} {std:.2f}"


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[NetworkErrors]:
    """The table's lines, by network. `rows`: the last row of each finished run, with the columns
    of IDENTITY."""
    networks: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        networks[tuple(row[key] for key in IDENTITY)].append(row)
    lines = []
    for key, own in sorted(networks.items()):
        data, arm, depth, shortcut, _ = key
        errors = {
            name: Error(
                tuple(row[name] for row in own), reference.errors().get((data, arm, depth, name))
            )
            for name in ERRORS
        }
        lines.append(NetworkErrors(network(data, arm, depth, shortcut), len(own), errors))
    return lines


def network(data: str, arm: str, depth: int, shortcut: str) -> str:
    """`cifar10 residual 56`, with the shortcut where it is a projection."""
    return f"{data} {arm} {depth}" + (f" {shortcut}" if "projection" in shortcut else "")


def as_text(lines: Sequence[NetworkErrors]) -> str:
    """The table for a terminal; "" without lines."""
    if not lines:
        return ""
    head = (
        f"{'':24} {'n':>2}  {'train error %':>16} {'paper':>6}  {'test error %':>16} {'paper':>6}"
    )
    return "\n".join([head, *map(_text_line, lines)])


def _text_line(line: NetworkErrors) -> str:
    cells = (f"  {e!s:>16} {_paper(e):>6}" for e in line.errors.values())
    return f"{line.network:24} {line.n:>2}{''.join(cells)}"


def _paper(error: Error) -> str:
    return "–" if error.paper is None else f"{error.paper:.2f}"


def paper_markdown() -> str:
    """The paper's own errors as a Markdown table."""
    lines = ["| the paper's | train error % | test error % |", "|---|--:|--:|"]
    for data, arm, depth in dict.fromkeys(key[:3] for key in reference.errors()):
        errors = (Error((), reference.errors().get((data, arm, depth, name))) for name in ERRORS)
        lines.append(f"| {data} {arm}-{depth} | {' | '.join(map(_paper, errors))} |")
    return "\n".join(lines)
