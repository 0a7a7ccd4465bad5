"""Status shows every run, what failed and why, and how to train it again."""

import shlex
from pathlib import Path

import pytest

from degradation.commands import status
from degradation.config import compose, overrides
from degradation.runs import progress
from tests.analysis.conftest import add

STATES = ["done", "failed", "partial", "diverged"]


@pytest.fixture
def runs(small, tmp_path: Path) -> list[progress.RunProgress]:
    """A plain run that is done; residual ones: failed, partial, diverged, missing."""
    configs = [small(), *(small(seed=s, model__shortcut="identity") for s in range(1, 5))]
    add(tmp_path, configs[0], [(12, 1, 2)])
    failed = add(tmp_path, configs[1], [(4, 9, 8)], None)
    failed.fail("MemoryError", "no memory\nmore")
    failed.log.write_text("".join(f"line {n}\n" for n in range(9)))
    add(tmp_path, configs[2], [(4, 9, 8)], None)
    add(tmp_path, configs[3], [(7, 9, 8)], "diverged")
    return progress.of_configs(configs, str(tmp_path))


def test_the_listing_names_states_progress_and_reasons(runs) -> None:
    lines = status.listing(runs).splitlines()
    assert [line.split()[0] for line in lines[:5]] == [*STATES, "missing"]
    assert "12/12" in lines[0]
    assert lines[1].endswith("no memory")
    assert lines[3].endswith("at iteration 7")
    assert lines[5] == "1 done, 1 failed, 1 partial, 1 diverged, 1 missing"


def test_failed_runs_come_with_their_log_and_the_command_that_trains_them(runs) -> None:
    shown = status.failures(runs).splitlines()
    assert shown[0].endswith("failed: no memory")
    assert shown[1:4] == ["    line 6", "    line 7", "    line 8"]
    assert shown[4].strip() == overrides.command(runs[1].config, str(runs[1].run.folder.parent))
    assert len(shown) == 5
    many = status.failures([runs[1]] * 12)
    assert many.count("no memory") == 10 and many.endswith("and 2 more failed")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["DIR"], STATES),
        (["machine.runs=DIR"], STATES),
        (["DIR/none"], ["no"]),
        (["+sweeps=quickstart", "machine.runs=DIR"], ["missing"] * 4 + ["4"]),
    ],
)
def test_the_command(runs, tmp_path: Path, capsys, words: list[str], shown: list[str]) -> None:
    failed = any(state == "failed" for state in shown)
    words = [word.replace("DIR", str(tmp_path)) for word in words]
    assert status.main(words) == int(failed)
    lines = capsys.readouterr().out.splitlines()[: len(shown)]
    assert [line.split()[0] for line in lines] == shown


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
