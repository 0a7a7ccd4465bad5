"""Run folders from rows, as the worker leaves them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir
from degradation.system import files

Rows = list[dict[str, Any]]


def rows_of(errors: Iterable[tuple[int, float, float]]) -> Rows:
    """Rows from iteration, training and test error."""
    return [{"iteration": i, "train_error": a, "test_error": b} for i, a, b in errors]


def add(
    runs: Path,
    config: RunConfig,
    rows: Rows,
    outcome: str | None = "done",
    digests: dict[str, str] | None = None,
) -> RunDir:
    """A run folder with these rows; `outcome` None: it has not ended."""
    run = RunDir.of(config, runs)
    run.create(config)
    own = {"initial": f"i{config.depth}{config.seed}", "stream": f"s{config.seed}"}
    launch = {"digests": own if digests is None else digests, "fingerprint": {"device": "cpu"}}
    files.append_line(run.launches_jsonl, json.dumps(launch))
    for row in rows:
        files.append_line(run.curves, json.dumps(row))
        timing = {"iteration": row["iteration"], "seconds": row["iteration"] * 0.5}
        files.append_line(run.timing_jsonl, json.dumps(timing))
    if outcome:
        files.write_json(run.done_json, {"outcome": outcome, "iteration": rows[-1]["iteration"]})
    return run
