"""The one table of final errors: mean ± standard deviation, n, and the paper's number beside it."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from degradation.runs import reference
from degradation.runs.columns import ERRORS

IDENTITY = ("data", "arm", "depth", "shortcut", "variant", "protocol")


def mean_and_std(mean: float, std: float, plus_minus: str = "±") -> str:
    """`6.61 ± 0.16`, or the bare mean where the spread is NaN, as that of one seed is."""
    return f"{mean:.2f}" if math.isnan(std) else f"{mean:.2f} {plus_minus} {std:.2f}"


def as_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table for a terminal, a line a network; "" without rows.

    `rows`: the last row of each finished run, with the columns of IDENTITY, its study and its
    iterations. Runs of two recipes are never averaged together.
    """
    networks: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        networks[tuple(row[key] for key in IDENTITY)].append(row)
    names = Counter(key[:-1] for key in networks)
    studies = Counter((key[:-1], own[0]["study"]) for key, own in networks.items())
    lines = [("", "n", "".join(f"  {f'{word} %':>18} {'paper':>6}" for word in ERRORS.values()))]
    for key, own in sorted(networks.items()):
        name = network(*key[:-1])
        if names[key[:-1]] > 1:
            # Two recipes of one network are told apart by their study, or else by their hash.
            study = own[0]["study"]
            name += f" {study}" if study and studies[key[:-1], study] == 1 else f" {key[-1]}"
        lines.append((name, str(len(own)), "".join(_cells(e, key, own) for e in ERRORS)))
    width = max(24, *(len(name) for name, *_ in lines))
    table = (f"{name:{width}} {count:>2}{cells}" for name, count, cells in lines)
    return "\n".join(table) if networks else ""


def _cells(name: str, key: tuple[Any, ...], rows: Sequence[Mapping[str, Any]]) -> str:
    """One error of one network's seeds, and the paper's."""
    data, arm, depth, _, variant, _ = key
    iterations = rows[0]["iterations"]
    values = [row[name] for row in rows]
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    paper = reference.error(data, arm, depth, name, iterations, variant)
    ours = mean_and_std(statistics.fmean(values), std)
    return f"  {ours:>18} {'–' if paper is None else f'{paper:.2f}':>6}"


def network(data: str, arm: str, depth: int, shortcut: str, variant: str = "") -> str:
    """`cifar10 residual 56`, with the shortcut where it is a projection, and the variant."""
    named = (data, arm, str(depth), shortcut if "projection" in shortcut else "", variant)
    return " ".join(filter(None, named))
