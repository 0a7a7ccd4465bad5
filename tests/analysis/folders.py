"""Run folders from rows, as the worker leaves them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir
from degradation.system import files
from tests.conftest import small

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


def two_arms(runs: Path) -> Path:
    """plain and residual 8 and 14, two seeds, all done; errors that a test can tell apart."""
    for depth in (8, 14):
        for shortcut, factor in (("none", 2), ("identity", 1)):
            for seed in (0, 1):
                base = depth * factor + seed
                rows = rows_of((i, base + 12 - i, base + 13 - i) for i in (4, 6, 8, 9, 12))
                add(runs, small(depth=depth, seed=seed, model__shortcut=shortcut), rows)
    return runs


def as_long_as_the_papers(runs: Path) -> Path:
    """plain 20 on CIFAR-10 for the paper's 64,000 iterations, and a plain 110 above its frame."""
    length = {"iterations": 64_000, "milestones": [32_000, 48_000], "eval_every": 1_000}
    recipe = {f"recipe__{key}": value for key, value in length.items()}
    for depth, error in ((20, 9.0), (110, 80.0)):
        rows = rows_of((i, error - 1, error) for i in range(1_000, 65_000, 1_000))
        add(runs, small(data__name="cifar10", depth=depth, **recipe), rows)
    return runs
