"""Status shows every run, what failed and why, and how to train it again."""

import json
import shlex
from pathlib import Path

import pytest

from degradation.commands import status
from degradation.config import compose, overrides
from degradation.runs import progress
from degradation.runs.run_dir import RunDir
from degradation.system import files


def done(config, runs: Path, **row: float) -> RunDir:
    run = RunDir.of(config, runs)
    run.create(config)
    files.append_line(run.curves, json.dumps({"iteration": config.recipe.iterations, **row}))
    files.write_json(run.done_json, {"outcome": "done"})
    return run


def test_the_listing_names_states_progress_and_reasons(small, tmp_path: Path) -> None:
    configs = [small(seed=seed) for seed in range(4)]
    done(configs[0], tmp_path, train_error=1.0, test_error=2.0)
    failed, diverged = (RunDir.of(config, tmp_path) for config in configs[1:3])
    failed.create(configs[1])
    files.write_json(failed.failed_json, {"message": "no memory\nmore"})
    diverged.create(configs[2])
    files.write_json(diverged.done_json, {"outcome": "diverged", "iteration": 7})
    listing = status.listing(progress.of_configs(configs, str(tmp_path))).splitlines()
    assert [line.split()[0] for line in listing[:4]] == ["done", "failed", "diverged", "missing"]
    assert "12/12" in listing[0]
    assert listing[1].endswith("no memory")
    assert listing[2].endswith("at iteration 7")
    assert listing[4] == "1 done, 1 failed, 1 diverged, 1 missing"


@pytest.fixture
def four(small, tmp_path: Path) -> list[progress.RunProgress]:
    """A run done, one failed, one partial, one missing; residual from the second on."""
    configs = [small(seed=0), *(small(seed=s, model__shortcut="identity") for s in range(1, 4))]
    done(configs[0], tmp_path, train_error=1.0, test_error=2.0)
    for config in configs[1:3]:
        run = RunDir.of(config, tmp_path)
        run.create(config)
        files.append_line(run.curves, '{"iteration": 4, "train_error": 9, "test_error": 8}')
    failed = RunDir.of(configs[1], tmp_path)
    files.write_json(failed.failed_json, {"message": "no memory\nmore"})
    failed.log.write_text("".join(f"line {n}\n" for n in range(9)))
    return progress.of_configs(configs, str(tmp_path))


def test_failed_runs_come_with_their_log_and_the_command_that_trains_them(four) -> None:
    shown = status.failures(four).splitlines()
    assert shown[0].endswith("failed: no memory")
    assert shown[1:4] == ["    line 6", "    line 7", "    line 8"]
    assert shown[4].strip() == overrides.command(four[1].config, str(four[1].run.folder.parent))
    assert len(shown) == 5
    many = status.failures([four[1]] * 12)
    assert many.count("no memory") == 10 and many.endswith("and 2 more failed")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["DIR"], ["done", "failed", "partial"]),
        (["machine.runs=DIR"], ["done", "failed", "partial"]),
        (["DIR/none"], ["no"]),
    ],
)
def test_the_command(four, tmp_path: Path, capsys, words: list[str], shown: list[str]) -> None:
    failed = any(state == "failed" for state in shown)
    words = [word.replace("DIR", str(tmp_path)) for word in words]
    assert status.main(words) == int(failed)
    lines = capsys.readouterr().out.splitlines()[: len(shown)]
    assert [line.split()[0] for line in lines] == shown


def test_a_study_shows_what_is_missing(tmp_path: Path, capsys) -> None:
    assert status.main(["+sweeps=quickstart", f"machine.runs={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 missing"


@pytest.mark.parametrize(
    "words",
    [
        ["data=digits", "model=residual"],
        ["depth=110", "seed=3", "model=residual", "model.shortcut=projection"],
        ["data=digits", "recipe.milestones=[]", "recipe.warmup_min_depth=null", "recipe.lr=1e-3"],
        ["numerics=fast", "data.root='/a b/it\\'s'", "recipe.nesterov=true"],
        ["data=digits", "recipe=cifar10", "machine.runs=/some/where"],
    ],
)
def test_the_command_that_trains_a_run_is_that_run(words: list[str]) -> None:
    [asked] = compose.runs_of(words)
    told = shlex.split(overrides.command(asked.config, asked.machine.runs))
    assert told[:3] == ["python", "-m", "degradation.run"]
    [again] = compose.runs_of(told[3:])
    assert again.config == asked.config
    assert again.machine.runs == asked.machine.runs
