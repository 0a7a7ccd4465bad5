"""Run folders from rows, as the worker leaves them."""

import json
from collections.abc import Iterator
from pathlib import Path

from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir
from degradation.system import files


def rows_of(errors: Iterator[tuple[int, float, float]]) -> list[dict[str, float]]:
    return [{"iteration": i, "train_error": a, "test_error": b} for i, a, b in errors]


def add(
    runs: Path, config: RunConfig, rows: list[dict[str, float]], outcome: str | None = "done"
) -> RunDir:
    run = RunDir.of(config, runs)
    run.create(config)
    digests = {"initial": f"i{config.depth}{config.seed}", "stream": f"s{config.seed}"}
    start = {"digests": digests, "fingerprint": {"device": "cpu"}}
    files.append_line(run.launches_jsonl, json.dumps(start))
    for row in rows:
        files.append_line(run.curves, json.dumps(row))
        timing = {"iteration": row["iteration"], "seconds": row["iteration"] * 0.5}
        files.append_line(run.timing_jsonl, json.dumps(timing))
    if outcome:
        files.write_json(run.done_json, {"outcome": outcome, "iteration": rows[-1]["iteration"]})
    return run
