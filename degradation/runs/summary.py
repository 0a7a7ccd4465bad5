"""The one table of final errors: mean ± standard deviation, n, and the paper's number beside it."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from degradation.runs import reference
from degradation.runs.columns import COLUMNS, ERRORS

IDENTITY = ("data", "arm", "depth", "shortcut", "variant", "protocol")


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
    of IDENTITY and its study. Runs of two recipes are never averaged together."""
    networks: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        networks[tuple(row[key] for key in IDENTITY)].append(row)
    names = Counter(key[:-1] for key in networks)
    lines = []
    for key, own in sorted(networks.items()):
        name = network(*key[:-1])
        if names[key[:-1]] > 1:
            # Two recipes of one network are told apart by their study.
            name += f" {own[0]['study'] or key[-1]}"
        lines.append(NetworkErrors(name, len(own), {e: _error(e, key, own) for e in ERRORS}))
    return lines


def _error(name: str, key: tuple[Any, ...], rows: Sequence[Mapping[str, Any]]) -> Error:
    data, arm, depth, _, variant, _ = key
    paper = reference.error(data, arm, depth, name, variant)
    return Error(tuple(row[name] for row in rows), paper)


def network(data: str, arm: str, depth: int, shortcut: str, variant: str = "") -> str:
    """`cifar10 residual 56`, with the shortcut where it is a projection, and the variant."""
    named = (data, arm, str(depth), shortcut if "projection" in shortcut else "", variant)
    return " ".join(filter(None, named))


def as_text(lines: Sequence[NetworkErrors]) -> str:
    """The table for a terminal; "" without lines."""
    if not lines:
        return ""
    width = max(24, *(len(line.network) for line in lines))
    columns = "".join(f"  {f'{COLUMNS[name].label} %':>18} {'paper':>6}" for name in ERRORS)
    return "\n".join([f"{'':{width}}  n{columns}", *(_text_line(line, width) for line in lines)])


def _text_line(line: NetworkErrors, width: int) -> str:
    cells = (f"  {e!s:>18} {_paper(e):>6}" for e in line.errors.values())
    return f"{line.network:{width}} {line.n:>2}{''.join(cells)}"


def _paper(error: Error) -> str:
    return "–" if error.paper is None else f"{error.paper:.2f}"


def paper_markdown() -> str:
    """The paper's own errors as a Markdown table."""
    lines = ["| the paper's | train error % | test error % |", "|---|--:|--:|"]
    for data, arm, depth in dict.fromkeys(key[:3] for key in reference.errors()):
        errors = (Error((), reference.errors().get((data, arm, depth, name))) for name in ERRORS)
        lines.append(f"| {data} {arm}-{depth} | {' | '.join(map(_paper, errors))} |")
    return "\n".join(lines)
