"""The list of runs as data for `report/runs.js`: who, what state, config, processes, failure, log.

It is written by column, equal values once, so that 5,000 runs stay a few megabytes. A config is its
protocol's common one and what a run has beside it.
"""

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.runs import Study
from analysis.page import charts
from analysis.plots.markup import shown
from degradation.runs import frames, run_dir
from degradation.runs.run_dir import RunDir

TAIL = 20  # lines of a log
LOGS = 500  # runs with a log in the page; those that aren't done come first
ERRORS = ("train_error", "test_error")
COLUMNS = ("run", "state", "data", "protocol", "arm", "shortcut", "depth", "seed", "iteration",
           "iterations", *ERRORS, "device", "commit", "exact")  # fmt: skip


def last_rows(folder: str, studies: Sequence[Study]) -> list[dict[Hashable, Any]]:
    """A line a run below `folder`: the columns of `store.describe` and its last row.

    It is what the studies saw, though runs may have gone on since; those in no study are read now.
    """
    known = {
        str(run["run"]): run
        for study in studies
        for own in (study.rows.groupby("run", sort=False).tail(1), study.idle)
        for run in own.to_dict("records")
    }
    for run in run_dir.runs_in(folder):
        if run.name not in known:
            known[run.name] = _read(run)
    return sorted(known.values(), key=lambda run: str(run["run"]))


def _read(run: RunDir) -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    found.update(frames.describe(run))
    for row in run.rows()[-1:]:
        found.update(row)
    return found


def plain(runs: Sequence[Mapping[Hashable, Any]]) -> dict[str, Any]:
    """All that the page says of runs, as what JSON can say."""
    folders = [RunDir(Path(str(run["folder"]))) for run in runs]
    read = [_files(folder) for folder in folders]
    common = _common([str(run["protocol"]) for run in runs], [files["config"] for files in read])
    columns = {key: [_finite(run.get(key)) for run in runs] for key in COLUMNS}
    columns |= {key: [files[key] for files in read] for key in read[0] if key != "config"}
    columns["own"] = [
        {key: value for key, value in files["config"].items() if key not in common[run["protocol"]]}
        for run, files in zip(runs, read, strict=True)
    ]
    columns["log"] = _logs(runs, folders)
    finished = [str(o["finished"]) for o in columns["outcome"] if o and o["finished"]]
    return {"count": len(runs), "columns": {k: interned(v) for k, v in columns.items()},
            "common": common, "newest": max(finished, default=None)}  # fmt: skip


def interned(values: Sequence[Any]) -> Any:
    """The values; or, where most equal others, each once in `of`, and whose is which in `at`."""
    keys = list(map(repr, values))
    each = dict(zip(keys, values, strict=True))
    if 2 * len(each) > len(values):
        return list(values)
    places = {key: i for i, key in enumerate(each)}
    return {"of": list(each.values()), "at": [places[key] for key in keys]}


def _files(run: RunDir) -> dict[str, Any]:
    """What lies in a run's folder beside its rows; fingerprint, versions and digests are those of
    its last process (where an earlier one had others, `inexact` says so)."""
    starts = [json.loads(line) for line in run_dir.whole_lines(run.launches_jsonl)]
    last = starts[-1] if starts else {}
    result, failure = run.result(), run.failure()
    return {
        "config": flat(json.loads(run.config_json.read_bytes())),
        "processes": [_process(start) for start in starts],
        "rests_on": flat({key: last.get(key) or {} for key in ("fingerprint", "versions")}),
        "digests": flat(last.get("digests") or {}),
        "parameters": last.get("parameters"),
        "failure": None if failure is None else flat(failure),
        "outcome": _outcome(result) if result else None,
        "inexact": [shown(line) for line in run_dir.whole_lines(run.resume_mismatches)],
    }


def _process(start: dict[str, Any]) -> list[str]:
    """When, where, from which iteration, by which code."""
    return [shown(str(start.get(key, "?"))) for key in ("at", "host", "iteration", "commit")]


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    return {key: result.get(key) for key in ("finished", "iteration", "curves_sha256")}


def flat(nested: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """A nested mapping as dotted keys and their values' JSON."""
    found: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found[shown(f"{path}{key}")] = shown(text)
    return found


def _common(
    protocols: Sequence[str], configs: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """By protocol, what all its configs agree on."""
    common: dict[str, dict[str, str]] = {}
    for protocol, config in zip(protocols, configs, strict=True):
        sofar = common.setdefault(protocol, dict(config))
        for key in [key for key, value in sofar.items() if config.get(key) != value]:
            del sofar[key]
    return common


def _logs(
    runs: Sequence[Mapping[Hashable, Any]], folders: Sequence[RunDir]
) -> list[list[str] | None]:
    """The ends of the logs; None for those beyond LOGS."""
    order = sorted(range(len(runs)), key=lambda i: (runs[i]["state"] == "done", i))
    chosen = set(order[:LOGS])
    return [tail(folder.log) if i in chosen else None for i, folder in enumerate(folders)]


def tail(path: Path, lines: int = TAIL, most: int = 16_384) -> list[str]:
    """The last lines of a text file, of its last `most` bytes; none where there is no file."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            text = file.read(most).decode(errors="replace")
    except FileNotFoundError:
        return []
    return [shown(line) for line in text.rstrip("\n").split("\n")[-lines:] if line]


def _finite(value: Any) -> Any:
    """A cell of a frame as JSON has it."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bool) or value is None or pd.isna(value):
        return None if value is None or pd.isna(value) else value
    number = charts.values([value])[0]
    return int(number) if number is not None and number == int(number) else number
