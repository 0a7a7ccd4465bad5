"""What a study lacks, and the command that trains just that, whatever its protocol.

A command names the data, the arm, the depths, the seeds, and each setting in which the study
differs from what `conf/` composes for that data and arm; `tests/test_report.py` composes them and
meets the same run folders. It goes on with what is unfinished and repeats nothing.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.frames.runs import Study
from analysis.plots import curves
from degradation.config import overrides, schema
from degradation.runs import run_dir

UNFINISHED = ("failed", "partial")  # a diverged run is a result
LISTED = 6  # seeds or runs that a line names one by one


@dataclass(frozen=True)
class Lack:
    """What one arm lacks, and what trains it."""

    what: tuple[str, ...]
    command: str


def lacks(study: Study, folder: str, probed: bool) -> list[Lack]:
    """A command an arm that has unfinished or missing points.

    `probed`: whether Figure 7 has its numbers. Missing are the depths that the figures show and
    that have no run, and, of each network, the seeds that another one has.
    """
    runs = _runs(study)
    seeds = sorted({int(seed) for seed in runs["seed"]})
    absent = curves.missing(study)
    found = []
    for arm in ("plain", "residual"):
        own = runs[runs["arm"] == arm]
        missing = dict.fromkeys(absent.get(arm, []), seeds) | _without(own, seeds)
        unfinished = own[own["state"].isin(UNFINISHED)]
        configs = [(depth, seed) for depth, without in missing.items() for seed in without]
        configs += [(int(r["depth"]), int(r["seed"])) for r in unfinished.to_dict("records")]
        if configs:
            what = (*_states(unfinished), *_missing(arm, missing, len(seeds)))
            found.append(Lack(what, command(study, arm, configs, folder)))
    if not probed and "done" in set(runs["state"]):
        what = ("layer responses (Figure 7), of the finished runs",)
        found.append(
            Lack(
                what,
                " ".join(["degradation evaluate responses", *_unless_runs(folder)]),
            )
        )
    return found


def _without(own: pd.DataFrame, seeds: Sequence[int]) -> dict[int, list[int]]:
    """By depth, the seeds that an arm's runs lack."""
    there: dict[int, set[int]] = {}
    for depth, seed in zip(own["depth"], own["seed"], strict=True):
        there.setdefault(int(depth), set()).add(int(seed))
    gaps = {depth: [s for s in seeds if s not in own] for depth, own in there.items()}
    return {depth: gap for depth, gap in gaps.items() if gap}


def command(study: Study, arm: str, configs: Iterable[tuple[int, int]], folder: str) -> str:
    """What trains an arm's (depth, seed), and no other protocol's."""
    depths, seeds = (sorted(set(axis)) for axis in zip(*configs, strict=True))
    machine = [f"machine.runs={path}" for path in _unless_runs(folder)]
    words = [f"data={study.data}", f"model={arm}", f"depth={_sweep(depths)}",
             *([] if seeds == [0] else [f"seed={_sweep(seeds)}"]),
             *overrides.changed_settings(_point(study, arm)), *machine]  # fmt: skip
    return " ".join(["python -m degradation.run -m", *map(shlex.quote, words)])


def _sweep(numbers: Sequence[int]) -> str:
    """Numbers as Hydra's sweeper reads them."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) > LISTED and list(numbers) == list(range(first, last + 1)):
        return f"range({first},{last + 1})"
    return ",".join(map(str, numbers))


def _point(study: Study, arm: str) -> schema.RunConfig:
    config = run_dir.RunDir(Path(str(study.rows["folder"].iloc[0]))).config()
    return config.with_shortcut("none" if arm == "plain" else "identity")


def _runs(study: Study) -> pd.DataFrame:
    return pd.concat([study.rows.drop_duplicates("run"), study.idle])


def _unless_runs(folder: str) -> list[str]:
    return [] if Path(folder) == Path("runs") else [folder]


def _states(unfinished: pd.DataFrame) -> Iterable[str]:
    for state in UNFINISHED:
        names = sorted(unfinished[unfinished["state"] == state]["run"])
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        if names:
            yield f"{state}: {', '.join(names[:LISTED])}{more}"


def _missing(arm: str, missing: dict[int, list[int]], seeds: int) -> Iterable[str]:
    alike: dict[tuple[int, ...], list[int]] = {}
    for depth, without in sorted(missing.items()):
        alike.setdefault(tuple(without), []).append(depth)
    for lacking, depths in alike.items():
        named = "" if len(lacking) == seeds else f", seed {_sweep(lacking)}"
        yield f"missing: {arm} {_sweep(depths)}{named}"
