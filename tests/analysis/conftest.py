"""Run folders with invented curves, as the worker leaves them, and two studies of them."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest

from analysis.frames import runs as frames
from degradation.config.schema import RunConfig
from degradation.runs.run_dir import RunDir
from degradation.system import files
from tests.conftest import small


def add(
    runs: Path,
    config: RunConfig,
    rows: Iterable[tuple[int, float, float]],
    outcome: str | None = "done",
    digests: dict[str, str] | None = None,
) -> RunDir:
    """A run folder with rows of iteration, training and test error; `outcome` None: it has not
    ended."""
    run = RunDir.of(config, runs)
    run.create(config)
    own = {"initial": f"i{config.depth}{config.seed}", "stream": f"s{config.seed}"}
    launch = {"digests": own if digests is None else digests, "fingerprint": {"device": "cpu"}}
    files.append_line(run.launches_jsonl, json.dumps(launch))
    iteration = 0
    for iteration, train, test in rows:
        row = {"iteration": iteration, "train_error": train, "test_error": test}
        files.append_line(run.curves, json.dumps(row))
        timing = {"iteration": iteration, "seconds": iteration * 0.5}
        files.append_line(run.timing_jsonl, json.dumps(timing))
    if outcome:
        files.write_json(run.done_json, {"outcome": outcome, "iteration": iteration})
    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """plain and residual 8 and 14, two seeds, all done; errors that a test can tell apart."""
    for depth in (8, 14):
        for shortcut, factor in (("none", 2), ("identity", 1)):
            for seed in (0, 1):
                base = depth * factor + seed
                rows = ((i, base + 12 - i, base + 13 - i) for i in (4, 6, 8, 9, 12))
                config = small(depth=depth, seed=seed, model__shortcut=shortcut)
                add(tmp_path / "runs", config, rows)
    return tmp_path / "runs"


@pytest.fixture
def study(runs: Path) -> frames.Study:
    (found,) = frames.studies(runs)
    return found


@pytest.fixture
def papers(tmp_path: Path) -> frames.Study:
    """plain 20 on CIFAR-10 for the paper's 64,000 iterations, and a plain 110 above its frame."""
    length = {"iterations": 64_000, "milestones": [32_000, 48_000], "eval_every": 1_000}
    recipe = {f"recipe__{key}": value for key, value in length.items()}
    for depth, error in ((20, 9.0), (110, 80.0)):
        rows = ((i, error - 1, error) for i in range(1_000, 65_000, 1_000))
        add(tmp_path / "papers", small(data__name="cifar10", depth=depth, **recipe), rows)
    (found,) = frames.studies(tmp_path / "papers")
    return found


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Calls a command, as (module, *arguments); its exit status, output and errors."""

    def called(module: ModuleType, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        return module.main(), *capsys.readouterr()

    return called
