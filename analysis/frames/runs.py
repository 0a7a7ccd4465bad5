"""Runs and the paper's numbers as pandas frames: the data behind every figure and table.

A *protocol* is all that a study holds fixed (data, recipe, numerics, width): runs of two protocols
are never drawn or averaged together. Errors are in percent everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.frames import variants
from degradation.runs import columns, reference
from degradation.runs import frames as run_frames
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system.paths import PAPER

ERRORS = list(columns.ERRORS)
MOMENTS = {"": "at the end", "_before_drop": "before the first drop"}
# The paper's means before the first drop are those of 27k to 32k of 32k iterations.
BEFORE_DROP = 27 / 32
SHORTCUTS = ("none", "identity")  # the arms of the paper's CIFAR-10 figures: plain, option A
# Percent of training error: the paper's mark of a start, the end of its warm-up, a trained net.
BELOW = (90, 80, 20)
IDLE = ["run", "arm", "depth", "state"]
NETWORK_AND_SEED = ["arm", "shortcut", "depth", "seed", "protocol"]


@dataclass(frozen=True)
class Study:
    """The rows of one protocol."""

    name: str
    """`<data>`, or `<data>-<protocol>` for all but the first (see Folder)."""
    data: str
    rows: pd.DataFrame
    """The rows of the paper's two arms, as `degradation.runs.frames.load` gives them."""
    idle: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=IDLE))
    """The runs that have no row yet, and copies of a folder under another name, which are no
    further seeds; a line each, of their columns at least IDLE."""

    @property
    def runs(self) -> pd.DataFrame:
        """A line a run, those without a row included."""
        return pd.concat([self.rows.drop_duplicates("run"), self.idle])

    @property
    def iterations(self) -> int:
        return int(self.rows["iterations"].iloc[0])

    @property
    def papers_data(self) -> bool:
        """Whether the paper trained on this data, so that its depths are the ones to show."""
        return self.data in reference.ITERATIONS

    @property
    def as_the_paper(self) -> bool:
        """Whether the paper's curves belong beside these: its data, its length."""
        return reference.ITERATIONS.get(self.data) == self.iterations

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
    """All runs below a folder."""

    studies: tuple[Study, ...]
    """One a protocol that is no side study's (see variants.py), data sets in alphabetical order;
    first the protocol that `conf/` composes for the data, then the largest."""
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """A line a run, those of side studies included: what it varies and how it ended (`_ended`)."""

    @property
    def empty(self) -> bool:
        """Whether no run has a row."""
        return not self.studies and (self.runs.empty or bool(self.runs["first_train"].isna().all()))


def studies(folder: str | Path) -> list[Study]:
    """The studies below `folder`."""
    return list(read(folder).studies)


def read(folder: str | Path) -> Folder:
    """The studies below `folder`, and its runs. Raises RunDirError."""
    runs, rows = run_frames.load(folder)
    if runs.empty:
        return Folder(())
    runs = variants.described(runs)
    main = runs[~runs["side_study"] & runs["shortcut"].isin(SHORTCUTS)]
    return Folder(tuple(_studies(main, rows)), _ended(runs, rows))


def _studies(runs: pd.DataFrame, rows: pd.DataFrame) -> Iterator[Study]:
    """A study a protocol that has rows."""
    originals = runs[~runs.duplicated(NETWORK_AND_SEED)]
    rows = rows[rows["run"].isin(originals["run"])] if len(rows) else rows
    for data, of_data in rows.groupby("data") if len(rows) else ():
        default = {*runs[runs["default"]]["protocol"]}
        sizes = of_data["protocol"].value_counts(sort=False)
        keys = sorted(sizes.index, key=lambda key: (key not in default, -sizes[key], key))
        for protocol in keys:
            name = str(data) if protocol == keys[0] else f"{data}-{protocol}"
            own = of_data[of_data["protocol"] == protocol]
            idle = runs[(runs["protocol"] == protocol) & ~runs["run"].isin(own["run"])]
            yield Study(name, str(data), own, idle)


def _ended(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The runs, and how each went.

    train_error and test_error are those of a finished run's last row; NaN in one that is not
    finished, whose resume was not exact, or that is a copy of another. first_train and
    first_test those of its first row; below_90, below_80 and below_20 its first iteration with so
    little training error, else NaN.
    """
    if rows.empty:
        rows = pd.DataFrame(columns=["run", "iteration", *ERRORS], dtype=float)
    by_run = rows.sort_values(["run", "iteration"]).groupby("run")[ERRORS]
    first = by_run.first().set_axis(["first_train", "first_test"], axis=1)
    ended = runs.join(by_run.last(), on="run").join(first, on="run")
    usable = (ended["state"] == "done") & ended["exact"] & ~ended.duplicated(NETWORK_AND_SEED)
    ended.loc[~usable, ERRORS] = float("nan")
    for percent in BELOW:
        ended[f"below_{percent}"] = ended["run"].map(first_below(rows, percent)).astype(float)
    return ended


def last(rows: pd.DataFrame) -> pd.DataFrame:
    """The last row of each finished run: its headline, never its best."""
    finished = rows[rows["state"] == "done"]
    return finished.sort_values("iteration").groupby("run", sort=True).tail(1)


def before_drop(rows: pd.DataFrame) -> pd.DataFrame:
    """Each run's mean errors in the last 5/32 before its first drop; the paper's second moment."""
    rows = rows.assign(drop=pd.to_numeric(rows["drop"]))  # None, where the rate never drops
    in_time = (rows["iteration"] <= rows["drop"]) & (rows["iteration"] > BEFORE_DROP * rows["drop"])
    early = rows[in_time]
    reached = rows.groupby("run")["iteration"].max()
    full = early[early["run"].map(reached) >= early["drop"]]
    return full.groupby(["run", "arm", "depth", "seed"], as_index=False)[ERRORS].mean()


def first_below(rows: pd.DataFrame, error: float) -> "pd.Series[float]":
    """By run, the iteration of its first row with a training error below `error` percent, where it
    got there."""
    return rows[rows["train_error"] < error].groupby("run")["iteration"].min()


def timing(study: Study) -> pd.DataFrame:
    """A line a run: depth, arm, seed, device, `milliseconds` an iteration (median over rows,
    without evaluation), `seconds` a run (that, for all its iterations)."""
    runs = study.rows.drop_duplicates("run")[["arm", "depth", "seed", "device", "folder"]]
    rate = runs.pop("folder").map(_seconds_an_iteration).astype(float)
    cost = runs.assign(milliseconds=1e3 * rate, seconds=rate * study.iterations)
    return cost.dropna(subset=["seconds"], ignore_index=True)


def _seconds_an_iteration(folder: str) -> float:
    rows = pd.DataFrame(RunDir(Path(folder)).timing(), columns=["iteration", "seconds"])
    steps = rows["iteration"].diff()
    return float((rows["seconds"] / steps)[steps > 0].median())


def responses(study: Study) -> pd.DataFrame:
    """A line a layer of each measured run: network, seed, layer (from 1), response_std."""
    runs = study.rows.drop_duplicates("run").sort_values(["arm", "depth", "seed"])
    found = [
        _measured(path).assign(network=f"{run['arm']}-{run['depth']}", seed=run["seed"])
        for run in runs.to_dict("records")
        if (path := RunDir(Path(str(run["folder"]))).responses).is_file()
    ]
    columns = ["network", "seed", "layer", "response_std"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)


def _measured(path: Path) -> pd.DataFrame:
    """A file of `degradation evaluate responses`. Raises RunDirError where it is none."""
    types = {"layer": int, "response_std": float}
    try:
        return pd.read_csv(path, dtype=types, usecols=list(types))
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        raise RunDirError(
            f"{path}: {error}; degradation evaluate responses writes it anew"
        ) from error


def paper_curves() -> pd.DataFrame:
    """The curves measured on the paper's figures: figure, panel, network, quantity, x, value."""
    return pd.read_csv(PAPER / "curves.csv")


def paper_errors() -> pd.DataFrame:
    """The paper's final errors: data, arm, depth, quantity, value, source."""
    return pd.read_csv(PAPER / "errors.csv")
