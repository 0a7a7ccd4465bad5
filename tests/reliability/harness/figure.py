"""A line of the table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was done, what was wanted, what was found."""

    what: str
    wanted: str
    found: str
    ok: bool


def problems(candidates: Mapping[str, bool]) -> str:
    """Those of the problems that are there, by name."""
    return ", ".join(name for name, is_there in candidates.items() if is_there)


def of_trials(what: str, wanted: str, trials: Iterable[str], note: str = "") -> Figure:
    """As wanted if every trial is; a trial is "" then, else it says what was wrong.

    `note`: what else there is to say of trials that are all as wanted.
    """
    results = list(trials)
    wrong = [result for result in results if result]
    found = f"{len(results)} of {len(results)}{note}"
    return Figure(what, wanted, "; ".join(wrong[:5]) or found, bool(results) and not wrong)
