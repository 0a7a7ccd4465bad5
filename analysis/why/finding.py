"""What one study of why nets degrade found: a question, the verdict's lines, the numbers, a figure.

The rules stand in the modules that make findings (`gradients`, `constructed`, `strength`, `interventions`,
`begins`, `late`), fixed before the studies were looked at (docs/why/README.md). An answer needs
what `verdict_rules.py` asks of one: three seeds, and an interval beyond its bound with a p below 0.05
after Holm over the answers that are given together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from analysis.frames.pairs import END
from analysis.plots.style import Look
from analysis.stats import verdict_rules
from analysis.stats.inference import Effect
from analysis.stats.verdict_rules import Step, StepVerdict


@dataclass(frozen=True)
class Line:
    """One sentence of a verdict: its word first."""

    word: str
    text: str


@dataclass(frozen=True)
class Finding:
    """What one study of why found."""

    name: str
    """Of its files: `<study>-<name>`."""
    study: str
    question: str
    rule: str
    lines: tuple[Line, ...]
    rows: pd.DataFrame
    """What the figure shows."""
    draw: Callable[[Look], Figure]


def study_names(table: pd.DataFrame, keys: list[str]) -> dict[str, str]:
    """A name for each key of a data set's families: the data's for the first, then with the key."""
    data = str(table["data"].iloc[0])
    return {key: data if i == 0 else f"{data}-{key}" for i, key in enumerate(keys)}


def shown(effect: Effect, digits: int = 2) -> str:
    """`+1.40 [+0.90, +1.90] n=5`."""
    if effect.n < 2:
        return f"{effect.mean:+.{digits}f} n={effect.n}" if effect.n else "n=0"
    low, high = f"{effect.low:+.{digits}f}", f"{effect.high:+.{digits}f}"
    return f"{effect.mean:+.{digits}f} [{low}, {high}] n={effect.n}"


def step(shallow: pd.DataFrame, deep: pd.DataFrame, first: int, second: int, arm: str = "") -> Step:
    """Final errors of two networks' runs, deep − shallow, paired by seed."""
    both = shallow.drop_duplicates("seed").merge(deep.drop_duplicates("seed"), on="seed")
    train, test = (both[f"{e}_error_y"] - both[f"{e}_error_x"] for e in ("train", "test"))
    used = train.notna() & test.notna()
    seeds = len({*shallow["seed"], *deep["seed"]})
    before, after = (int((runs["state"] == "diverged").sum()) for runs in (shallow, deep))
    return Step(
        arm, first, second, END, train[used].to_numpy(float), test[used].to_numpy(float),
        seeds - int(used.sum()), (before, after),
    )  # fmt: skip


def why_open(judged: StepVerdict) -> str:
    """What an undecided step lacks, in brackets."""
    return f" ({judged.why})" if judged.train_is == verdict_rules.UNKNOWN else ""


def lost(runs: pd.DataFrame) -> str:
    """How many runs diverged, where some did: `; diverged: 2`."""
    count = int((runs["state"] == "diverged").sum())
    return f"; diverged: {count}" if count else ""
