"""Runs and the paper's numbers as pandas frames: the data behind every figure and table.

A *protocol* is all that a study holds fixed (data, recipe, numerics, width): runs of two protocols
are never drawn or averaged together. Errors are in percent everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from degradation import store
from degradation.places import PAPER

# The paper's means before the first drop are those of 27k to 32k of 32k iterations.
BEFORE_DROP = 27 / 32
SHORTCUTS = ("none", "identity")  # the arms of the paper's CIFAR-10 figures: plain, option A


@dataclass(frozen=True)
class Study:
    """The rows of one protocol."""

    name: str
    """`<data>`, or `<data>-<protocol>` for all but the protocol with the most rows."""
    data: str
    rows: pd.DataFrame
    """As `store.curves` gives them; the paper's arms alone."""

    @property
    def iterations(self) -> int:
        return int(self.rows["iterations"].iloc[0])

    @property
    def as_the_paper(self) -> bool:
        """Whether the paper's curves belong beside these: its data, its length."""
        return self.data == "cifar10" and self.iterations == 64_000

    def depths(self, arm: str) -> list[int]:
        own = self.rows[self.rows["arm"] == arm]
        return sorted(int(depth) for depth in own["depth"].unique())

    def network(self, arm: str, depth: int) -> pd.DataFrame:
        """The rows of every seed of one network, in order."""
        own = self.rows[(self.rows["arm"] == arm) & (self.rows["depth"] == depth)]
        return own.sort_values(["seed", "iteration"], kind="stable")


def studies(folder: str | Path) -> list[Study]:
    """One study a protocol below `folder`, data sets in alphabetical order, the largest first."""
    rows = store.curves(folder)
    if rows.empty:
        return []
    rows = rows[rows["shortcut"].isin(SHORTCUTS)]
    return [
        Study(str(data) if first else f"{data}-{protocol}", str(data), own)
        for data, of_data in rows.groupby("data")
        for first, protocol, own in _by_size(of_data)
    ]


def _by_size(rows: pd.DataFrame) -> Iterator[tuple[bool, str, pd.DataFrame]]:
    sizes = rows["protocol"].value_counts(sort=False).sort_index(kind="stable")
    ordered = sizes.sort_values(ascending=False, kind="stable").index
    for protocol in ordered:
        yield protocol == ordered[0], str(protocol), rows[rows["protocol"] == protocol]


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The last row of each finished run: its headline, never its best."""
    finished = rows[rows["state"] == "done"]
    return finished.sort_values("iteration").groupby("run", sort=True).tail(1)


def before_drop(rows: pd.DataFrame) -> pd.DataFrame:
    """Each run's mean errors in the last 5/32 before its first drop; the paper's second moment."""
    early = rows[(rows["iteration"] <= rows["drop"])
                 & (rows["iteration"] > BEFORE_DROP * rows["drop"])]  # fmt: skip
    reached = rows.groupby("run")["iteration"].max()
    full = early[early["run"].map(reached) >= early["drop"]]
    keys = ["run", "arm", "depth", "seed"]
    return full.groupby(keys, as_index=False)[["train_error", "test_error"]].mean()


def paper_curves() -> pd.DataFrame:
    """The curves measured on the paper's figures: figure, panel, network, quantity, x, value."""
    return pd.read_csv(PAPER / "curves.csv")


def paper_errors() -> pd.DataFrame:
    """The paper's final errors: data, arm, depth, quantity, value, source."""
    return pd.read_csv(PAPER / "errors.csv")
