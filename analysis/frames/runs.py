"""Runs and the paper's numbers as pandas frames: the data behind every figure and table.

A *protocol* is all that a study holds fixed (data, recipe, numerics, width): runs of two protocols
are never drawn or averaged together. Errors are in percent everywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import pandas as pd

from analysis.frames import variants
from analysis.frames.variants import Protocol
from degradation.runs import frames, run_dir
from degradation.system.paths import PAPER

# The paper's means before the first drop are those of 27k to 32k of 32k iterations.
BEFORE_DROP = 27 / 32
PAPER_ITERATIONS = {"cifar10": 64_000, "imagenet": 600_000}
SHORTCUTS = ("none", "identity")  # the arms of the paper's CIFAR-10 figures: plain, option A


MOMENTS = {"": "at the end", "_before_drop": "before the first drop"}


@dataclass(frozen=True)
class Study:
    """The rows of one protocol."""

    name: str
    """`<data>`, or `<data>-<protocol>` for all but the first (see Folder)."""
    data: str
    rows: pd.DataFrame
    """As `store.curves` gives them; the paper's arms alone."""
    idle: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The runs that have no row yet, as `store.runs` gives them."""

    @property
    def iterations(self) -> int:
        return int(self.rows["iterations"].iloc[0])

    @property
    def papers_data(self) -> bool:
        """Whether the paper trained on this data, so that its depths are the ones to show."""
        return self.data in PAPER_ITERATIONS

    @property
    def as_the_paper(self) -> bool:
        """Whether the paper's curves belong beside these: its data, its length."""
        return PAPER_ITERATIONS.get(self.data) == self.iterations

    @property
    def scale(self) -> float:
        """Iterations in a unit of the x axis."""
        return 1e4 if self.iterations >= 10_000 else 1.0

    def depths(self, arm: str) -> list[int]:
        own = self.rows[self.rows["arm"] == arm]
        return sorted(int(depth) for depth in own["depth"].unique())

    def network(self, arm: str, depth: int) -> pd.DataFrame:
        """The rows of every seed of one network, in order."""
        own = self.rows[(self.rows["arm"] == arm) & (self.rows["depth"] == depth)]
        return own.sort_values(["seed", "iteration"], kind="stable")


@dataclass(frozen=True)
class Folder:
    """All that a folder's runs say."""

    studies: tuple[Study, ...]
    """One a protocol that is no variant (see variants.py), data sets in alphabetical order; first
    the protocol that `conf/` composes for the data, then the largest."""
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A line a run, variants included: what it varies and how it went (`variants.described`)."""

    @property
    def empty(self) -> bool:
        """Whether no run has a row."""
        return not self.studies and (self.runs.empty or bool(self.runs["first_train"].isna().all()))


def studies(folder: str | Path) -> list[Study]:
    """The studies below `folder`."""
    return list(read(folder).studies)


def read(folder: str | Path) -> Folder:
    """The studies below `folder`, and its runs. Raises run_dir.RunDirError."""
    runs, rows = frames.load(folder)
    known = variants.protocols(runs, rows)
    table = variants.described(runs, rows, known)
    if rows.empty:
        return Folder((), table)
    ours = {key for key, protocol in known.items() if not protocol.variant}
    rows = rows[rows["shortcut"].isin(SHORTCUTS) & rows["protocol"].isin(ours)]
    idle = runs[~runs["run"].isin(rows["run"]) & runs["shortcut"].isin(SHORTCUTS)]
    return Folder(tuple(
        Study(str(data) if first else f"{data}-{protocol}", str(data), own,
              idle[idle["protocol"] == protocol])
        for data, of_data in rows.groupby("data")
        for first, protocol, own in _ordered(of_data, known)
    ), table)  # fmt: skip


def _ordered(
    rows: pd.DataFrame, known: Mapping[str, Protocol]
) -> Iterator[tuple[bool, str, pd.DataFrame]]:
    sizes = rows["protocol"].value_counts(sort=False)
    keys = sorted(sizes.index, key=lambda key: (not known[key].default, -sizes[key], key))
    for protocol in keys:
        yield protocol == keys[0], str(protocol), rows[rows["protocol"] == protocol]


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The last row of each finished run: its headline, never its best."""
    finished = rows[rows["state"] == "done"]
    return finished.sort_values("iteration").groupby("run", sort=True).tail(1)


def before_drop(rows: pd.DataFrame) -> pd.DataFrame:
    """Each run's mean errors in the last 5/32 before its first drop; the paper's second moment."""
    rows = rows.assign(drop=pd.to_numeric(rows["drop"]))  # None, where the rate never drops
    early = rows[(rows["iteration"] <= rows["drop"])
                 & (rows["iteration"] > BEFORE_DROP * rows["drop"])]  # fmt: skip
    reached = rows.groupby("run")["iteration"].max()
    full = early[early["run"].map(reached) >= early["drop"]]
    keys = ["run", "arm", "depth", "seed"]
    return full.groupby(keys, as_index=False)[["train_error", "test_error"]].mean()


def first_below(rows: pd.DataFrame, error: float) -> pd.DataFrame:
    """A line a run: `iteration` of its first row with a training error below `error` percent, NaN
    where it never got there."""
    keys = ["run", "arm", "depth", "seed"]
    runs = rows[keys].drop_duplicates()
    below = rows[rows["train_error"] < error].groupby("run")["iteration"].min()
    return runs.assign(iteration=runs["run"].map(below))


def timing(study: Study) -> pd.DataFrame:
    """A line a run: depth, arm, seed, device, `milliseconds` an iteration (median over rows,
    without evaluation), `seconds` a point (that, for all its iterations)."""
    lines = []
    keys = ["arm", "depth", "seed", "device"]
    for run in study.rows.drop_duplicates("run").to_dict("records"):
        rows = run_dir.RunDir(Path(str(run["folder"]))).timing()
        rates = [b["seconds"] / (b["iteration"] - a["iteration"]) for a, b in pairwise(rows)
                 if b["iteration"] > a["iteration"]]  # fmt: skip
        if rates:
            second = median(rates)
            cost = {"milliseconds": 1e3 * second, "seconds": second * study.iterations}
            lines.append({key: run[key] for key in keys} | cost)
    return pd.DataFrame(lines, columns=[*keys, "milliseconds", "seconds"])


def responses(study: Study) -> pd.DataFrame:
    """A line a layer of each probed run: network, seed, layer (from 1), response_std."""
    found = []
    for run in (
        study.rows.drop_duplicates("run").sort_values(["arm", "depth", "seed"]).to_dict("records")
    ):
        path = run_dir.RunDir(Path(str(run["folder"]))).responses
        if path.is_file():
            network = f"{run['arm']}-{run['depth']}"
            found.append(_measured(path).assign(network=network, seed=run["seed"]))
    columns = ["network", "seed", "layer", "response_std"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)


def _measured(path: Path) -> pd.DataFrame:
    """What `degradation evaluate responses` wrote. Raises run_dir.RunDirError where it is something else."""
    try:
        return pd.read_csv(path, dtype={"layer": int, "response_std": float},
                           usecols=["layer", "response_std"])  # fmt: skip
    except (ValueError, OSError) as error:  # those of pandas, too
        raise run_dir.RunDirError(f"{path}: {error}; degradation evaluate responses writes it anew"
                            ) from error  # fmt: skip


def paper_curves() -> pd.DataFrame:
    """The curves measured on the paper's figures: figure, panel, network, quantity, x, value."""
    return pd.read_csv(PAPER / "curves.csv")


def paper_errors() -> pd.DataFrame:
    """The paper's final errors: data, arm, depth, quantity, value, source."""
    return pd.read_csv(PAPER / "errors.csv")
