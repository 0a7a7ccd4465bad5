"""What a study lacks, and the commands that train just that.

A command names the data, the arm, the depths, the seeds, and every setting in which the study
differs from what `conf/` composes for that data and arm. It goes on with what is unfinished and
repeats nothing.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.frames import runs as frames
from analysis.frames.runs import Study
from analysis.plots import curves
from degradation.config import overrides
from degradation.runs.run_dir import RunDir

UNFINISHED = ("failed", "partial")  # a diverged run is a result
LISTED = 6  # seeds or runs that a line names one by one


@dataclass(frozen=True)
class Lack:
    """What one arm lacks, and what trains it."""

    what: tuple[str, ...]
    command: str


def lacks(study: Study, folder: str) -> list[Lack]:
    """One entry for each arm with unfinished or missing runs, and one for missing layer responses.

    Missing are the depths that the figures show and no run has, and each network's seeds that
    another network has.
    """
    runs = study.runs
    found = []
    for arm in ("plain", "residual"):
        unfinished = runs[(runs["arm"] == arm) & runs["state"].isin(UNFINISHED)]
        absent = _absent(study, runs, arm)
        wanted = [(depth, seed) for depth, seeds in absent.items() for seed in seeds]
        wanted += zip(unfinished["depth"], unfinished["seed"], strict=True)
        if wanted:
            what = (*_unfinished(unfinished), *_missing(arm, absent, runs["seed"].nunique()))
            found.append(Lack(what, _command(study, arm, wanted, folder)))
    if frames.responses(study).empty and "done" in set(runs["state"]):
        what = ("layer responses (Figure 7) of the finished runs",)
        words = ["degradation", "evaluate", "responses", *_unless_runs(folder)]
        found.append(Lack(what, shlex.join(words)))
    return found


def _absent(study: Study, runs: pd.DataFrame, arm: str) -> dict[int, list[int]]:
    """By depth, the seeds for which an arm has no run."""
    own = runs[runs["arm"] == arm]
    depths = {int(depth) for depth in own["depth"]} | curves.wanted_depths(study, arm)
    seeds = {int(seed) for seed in runs["seed"]}
    there = {depth: {*own[own["depth"] == depth]["seed"]} for depth in sorted(depths)}
    return {depth: sorted(seeds - has) for depth, has in there.items() if seeds - has}


def _command(study: Study, arm: str, wanted: Sequence[tuple[int, int]], folder: str) -> str:
    """What trains an arm's networks, as (depth, seed), with the settings of this study."""
    depths, seeds = (_sweep(sorted(set(axis))) for axis in zip(*wanted, strict=True))
    config = RunDir(Path(study.rows["folder"].iloc[0])).config()
    config = config.with_shortcut("none" if arm == "plain" else "identity")
    words = [f"data={study.data}", f"model={arm}", f"depth={depths}"]
    words += [f"seed={seeds}"] if seeds != "0" else []
    words += overrides.changed_settings(config)
    words += [f"machine.runs={overrides.written(path)}" for path in _unless_runs(folder)]
    return shlex.join(["python", "-m", "degradation.run", "-m", *words])


def _sweep(numbers: Sequence[int]) -> str:
    """Numbers as Hydra's sweeper reads them."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) > LISTED and list(numbers) == list(range(first, last + 1)):
        return f"range({first},{last + 1})"
    return ",".join(map(str, numbers))


def _unless_runs(folder: str) -> list[str]:
    return [] if Path(folder) == Path("runs") else [folder]


def _unfinished(runs: pd.DataFrame) -> Iterator[str]:
    for state, own in runs.groupby("state"):
        names = sorted(own["run"])
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        yield f"{state}: {', '.join(names[:LISTED])}{more}"


def _missing(arm: str, absent: dict[int, list[int]], seeds: int) -> Iterator[str]:
    """A line for the depths that lack the same seeds."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for depth, lacking in absent.items():
        alike.setdefault(tuple(lacking), []).append(depth)
    for seeds_lacking, depths in alike.items():
        named = f", seed {_sweep(seeds_lacking)}" if len(seeds_lacking) < seeds else ""
        yield f"missing: {arm} {_sweep(depths)}{named}"
