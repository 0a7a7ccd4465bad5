"""What one side study found: a question, the verdict's lines, the numbers, a figure.

The rules are in the modules that make findings, and were fixed before the studies were looked at
(docs/why/README.md). An answer needs what `verdict_rules` asks of one: three seeds, and an interval
beyond its bound with a p below 0.05 after Holm over the answers that are given together.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.frames.pairs import END
from analysis.plots.style import Style
from analysis.stats import verdict_rules
from analysis.stats.inference import format_effect
from analysis.stats.verdict_rules import Rule, Step


@dataclass(frozen=True)
class Line:
    """One sentence of a verdict: its word first."""

    word: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What one side study found."""

    name: str
    """Of its files: `<study>-<name>`."""
    study: str
    question: str
    rule: str
    """The docstring of its module."""
    lines: tuple[Line, ...]
    rows: pd.DataFrame
    """What the figure shows."""
    draw: Callable[[Style], Figure]


def study_names(table: pd.DataFrame, keys: Iterable[object]) -> list[str]:
    """A name for each of a data set's studies: the data's for the first, then with its key."""
    data = str(table["data"].iloc[0])
    return [f"{data}-{key}" if number else data for number, key in enumerate(keys)]


def paired_step(shallow: pd.DataFrame, deep: pd.DataFrame, rule: Rule, arm: str = "") -> Step:
    """Final errors of two networks' runs, deep − shallow, paired by seed."""
    both = shallow.drop_duplicates("seed").merge(deep.drop_duplicates("seed"), on="seed")
    train, test = (both[f"{e}_error_y"] - both[f"{e}_error_x"] for e in ("train", "test"))
    used = train.notna() & test.notna()
    return Step(
        arm,
        int(shallow["depth"].iloc[0]),
        int(deep["depth"].iloc[0]),
        END,
        *rule.effects(train[used].to_numpy(float), test[used].to_numpy(float)),
        left_out=len({*shallow["seed"], *deep["seed"]}) - int(used.sum()),
        diverged=(_diverged(shallow), _diverged(deep)),
    )


def in_points(judged: Step) -> str:
    """The effect on the training error, and what an undecided step lacks, in brackets."""
    why = f" ({judged.why})" if judged.train_is == verdict_rules.UNKNOWN else ""
    return f"{format_effect(judged.train)} points{why}"


def diverged_note(step: Step) -> str:
    """How many runs diverged, where some did: `; diverged: 2`."""
    return f"; diverged: {sum(step.diverged)}" if any(step.diverged) else ""


def _diverged(runs: pd.DataFrame) -> int:
    return int((runs["state"] == "diverged").sum())
