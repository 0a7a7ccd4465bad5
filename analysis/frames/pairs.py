"""Which runs may be compared: pairs by seed, and what was left out of them, with the reason.

Two kinds of pairs, both of one protocol and one seed:

    by depth    two depths of one arm; both saw the same images in the same order
    by arm      plain and residual at one depth; both saw the same images in the same order and,
                with option A, which has the same parameters, started from the same tensors

Same means: equal digests. A pair counts at a moment (at the end, before the first drop) that both
runs have reached, so that a study that still trains enters as it gets there. Left out are runs that
are unfinished, that diverged (they have no error to average: whoever judges must say how many),
whose resume was not exact, and copies of a folder. Differences are second − first: deeper −
shallower, residual − plain; in percent points.
"""

from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import Any

import pandas as pd

from analysis.frames import runs as frames
from analysis.frames.runs import ERRORS

END, BEFORE_DROP = MOMENTS = tuple(frames.MOMENTS.values())
SIDES = ("first", "second")
_IDENTITY = ["run", *frames.NETWORK_AND_SEED, "pair", "initial", "stream", "state", "exact"]
_IDENTITY += ["iteration", "iterations", "drop"]
_SIDE = ["run", "depth", "initial", "stream", "diverged", *ERRORS, "reason"]
_COLUMNS = ["arm", *SIDES, "depth_first", "depth_second", "seed", "moment", "train", "test"]
_COLUMNS += [f"{name}_{side}" for side in SIDES for name in ("run", *ERRORS, "diverged")]
_COLUMNS += ["reason"]


def finals(rows: pd.DataFrame, idle: pd.DataFrame | None = None) -> pd.DataFrame:
    """A line a run and moment: its identity, its errors, `reason`: why it can't be used, or empty.

    `rows` are those of one study, `idle` its runs that have no row yet.
    """
    runs = rows.loc[rows.groupby("run")["iteration"].idxmax(), _IDENTITY]
    if idle is not None and len(idle):
        runs = pd.concat([runs, idle.assign(iteration=0)[_IDENTITY]])
    runs = runs.sort_values(["arm", "depth", "seed", "run"], ignore_index=True)
    original = runs.groupby(frames.NETWORK_AND_SEED)["run"].transform("first")
    runs["copy_of"] = original.where(runs.duplicated(frames.NETWORK_AND_SEED), None)
    last = frames.last(rows)
    errors = {END: last[last["iteration"] == last["iterations"]]}
    if runs["drop"].notna().any():
        errors[BEFORE_DROP] = frames.before_drop(rows)
    moments = [
        runs.merge(own[["run", *ERRORS]], on="run", how="left").assign(moment=moment)
        for moment, own in errors.items()
    ]
    table = pd.concat(moments, ignore_index=True)
    table["reason"] = [_unusable(line) for line in table.to_dict("records")]
    table["diverged"] = table["reason"].str.startswith("diverged")
    return table


def by_depth(finals: pd.DataFrame, also: Iterable[tuple[int, int]] = ()) -> pd.DataFrame:
    """The pairs of each step in depth of each arm; `reason` is empty for those that can be used.

    Steps lead from each depth of an arm to its next, and from a to b for the (a, b) in `also`.
    """
    wanted = list(also)
    return _concatenated(
        _match(own[own["depth"] == shallow], own[own["depth"] == deep])
        for _, own in _originals(finals).groupby(["arm", "shortcut"])
        for shallow, deep in steps(own["depth"], wanted)
    )


def by_arm(finals: pd.DataFrame) -> pd.DataFrame:
    """The pairs of plain and residual at each depth that has both; `reason` likewise."""
    return _concatenated(
        _match(plain, residual, ["pair"])
        for _, own in _originals(finals).groupby("depth")
        for _, residual in own[own["arm"] == "residual"].groupby("shortcut")
        if len(plain := own[own["arm"] == "plain"])
    )


def steps(depths: Iterable[int], also: Iterable[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """From each depth to the next; and those of `also` of which both depths are there."""
    trained = sorted({int(depth) for depth in depths})
    return sorted({*pairwise(trained), *(step for step in also if {*step} <= {*trained})})


def left_out(finals: pd.DataFrame, *matched: pd.DataFrame) -> pd.DataFrame:
    """What was not compared: `what` (a run, or two networks and a seed), `moment`, `reason`.

    A pair is named only where its runs, each by itself, could have been used.
    """
    runs = finals[finals["reason"] != ""].rename(columns={"run": "what"})
    pairs = pd.concat([m[m["reason"].str.startswith("pair: ")] for m in matched])
    what = [f"{p.first}, {p.second}, seed {p.seed}" for p in pairs.itertuples()]
    pairs = pairs.assign(what=what, reason=pairs["reason"].str.removeprefix("pair: "))
    columns = ["what", "moment", "reason"]
    return pd.concat([runs[columns], pairs[columns]], ignore_index=True)


def _originals(finals: pd.DataFrame) -> pd.DataFrame:
    return finals[finals["copy_of"].isna()]


def _unusable(line: dict[Hashable, Any]) -> str:
    if pd.notna(line["copy_of"]):
        return f"a copy of {line['copy_of']}"
    if not line["exact"]:
        return "its resume was not exact (see its resume_mismatches.jsonl)"
    if pd.notna(line["train_error"]) and pd.notna(line["test_error"]):
        return ""
    if line["state"] == "done" and line["iteration"] == line["iterations"]:
        return "has no row then"
    return f"{line['state']}, {line['iteration']} of {line['iterations']} iterations in its rows"


def _match(first: pd.DataFrame, second: pd.DataFrame, keys: Iterable[str] = ()) -> pd.DataFrame:
    """Two networks' runs side by side, seed by seed and moment by moment."""
    on = ["protocol", "seed", "moment", *keys]
    suffixes = ("_first", "_second")
    own, other = first[[*on, *_SIDE]], second[[*on, *_SIDE]]
    pairs = own.merge(other, on=on, how="outer", suffixes=suffixes)
    one, two = first.iloc[0], second.iloc[0]
    pairs = pairs.assign(
        arm=f"{two['arm']}{_option(two)}",
        first=_network(one),
        second=_network(two),
        depth_first=one["depth"],
        depth_second=two["depth"],
        diverged_first=pairs["diverged_first"].eq(True),
        diverged_second=pairs["diverged_second"].eq(True),
        train=pairs["train_error_second"] - pairs["train_error_first"],
        test=pairs["test_error_second"] - pairs["test_error_first"],
    )
    same_start = one["depth"] == two["depth"] and two["shortcut"] == "identity"
    pairs["reason"] = [_unequal(pair, same_start) for pair in pairs.to_dict("records")]
    return pairs[_COLUMNS]


def _unequal(pair: dict[Hashable, Any], same_start: bool) -> str:
    """Why a pair can't be used, or nothing; `pair: ` opens a reason that no run has by itself."""
    alone = [
        f"{pair[f'run_{side}']}: {reason}"
        for side in SIDES
        if isinstance(reason := pair[f"reason_{side}"], str) and reason
    ]
    if alone:
        return "; ".join(alone)
    for side in SIDES:
        if not isinstance(pair[f"run_{side}"], str):
            return f"pair: no run of {pair[side]}"
    if not _agree(pair, "stream"):
        return "pair: not known to have seen the same images in the same order (stream digests)"
    if same_start and not _agree(pair, "initial"):
        return "pair: not known to have started from the same weights (initial digests)"
    return ""


def _agree(pair: dict[Hashable, Any], digest: str) -> bool:
    first, second = pair[f"{digest}_first"], pair[f"{digest}_second"]
    return isinstance(first, str) and first == second


def _network(run: "pd.Series[Any]") -> str:
    return f"{run['arm']}-{run['depth']}{_option(run)}"


def _option(run: "pd.Series[Any]") -> str:
    return "" if run["shortcut"] in frames.SHORTCUTS else f" ({run['shortcut']})"


def _concatenated(matched: Iterable[pd.DataFrame]) -> pd.DataFrame:
    found = list(matched)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_COLUMNS)
