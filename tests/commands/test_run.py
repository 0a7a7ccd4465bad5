"""The command, from outside: it trains, skips, goes on, names what failed, and sends to W&B."""

import json
import re
from pathlib import Path

import pytest

from degradation.runs.run_dir import runs_in
from degradation.system.paths import CONF
from degradation.tracking import keys
from tests.commands.conftest import call

RUN = ["data=digits", "depth=8", "model.width=4", "machine.device=cpu", "recipe.iterations=40"]
RUN += ["recipe.milestones=[20]", "recipe.batch_size=32", "recipe.eval_every=10"]
ALONE = [*RUN, "machine.wandb=disabled"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a pair was trained, with W&B in mode auto."""
    folder = tmp_path_factory.mktemp("study")
    done = call(folder, "-m", *RUN, "model=plain,residual")
    assert done.returncode == 0, done.stderr
    (folder / "out.txt").write_text(done.stdout)
    (folder / "err.txt").write_text(done.stderr)
    return folder


def test_a_study_trains_its_runs_and_ends_with_their_errors(study: Path) -> None:
    runs = runs_in(study / "runs")
    assert [r.state() for r in runs] == ["done", "done"]
    assert [len(r.rows()) for r in runs] == [4, 4]
    out = (study / "out.txt").read_text()
    for run in runs:
        assert f"{run.rows()[-1]['test_error']:.2f}" in out
    assert "paper" in out
    assert "python analysis/plot_curves.py runs" in out
    assert "10/40" in (study / "err.txt").read_text()  # a line a row where there is no terminal
    plain, residual = (json.loads(run.launches_jsonl.read_text()) for run in runs)
    assert plain["digests"] == residual["digests"]
    assert plain["parameters"] == residual["parameters"]
    assert len({run.config().pair for run in runs}) == 1


def test_the_same_command_again_touches_nothing(study: Path) -> None:
    def times() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in (study / "runs").rglob("*") if p.is_file()}

    before = times()
    again = call(study, "-m", *RUN, "model=plain,residual")
    assert again.returncode == 0
    assert "runs: 2, of which 2 are finished: nothing to train" in again.stderr
    assert times() == before


def test_only_what_is_missing_is_trained(study: Path) -> None:
    done = call(study, "-m", *ALONE, "model=plain,residual", "seed=0,1")
    assert done.returncode == 0
    assert "runs: 4, of which 2 are finished" in done.stderr
    assert len(runs_in(study / "runs")) == 4
    assert all(len(r.launches_jsonl.read_text().splitlines()) == 1 for r in runs_in(study / "runs"))


def test_without_a_key_wandb_is_offline_and_holds_the_rows(study: Path) -> None:
    """What W&B's own reader finds in the folder equals curves.jsonl."""
    mirrored = [run for run in runs_in(study / "runs") if run.config().seed == 0]
    assert len(mirrored) == 2
    for run in mirrored:
        (folder,) = (study / "runs/wandb").glob(f"offline-run-*-{run.name}")
        (file,) = folder.glob("*.wandb")
        told = call(study, "leet", "inspect", "--json", str(file), module="wandb")
        records = [json.loads(line) for line in told.stdout.splitlines()]
        items = [r["history"]["item"] for r in records if r["type"] == "history"]
        assert [keys.row_of(item) for item in items] == run.rows()
        text = json.dumps(records)
        assert all(f'"{word}"' in text for word in ("arm", "depth-8", "digits", "test_error"))


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_finish(tmp_path: Path) -> None:
    words = ["-m", *ALONE[1:], "data=cifar10,digits", "recipe=digits", "data.download=false"]
    done = call(tmp_path, *words, f"data.root={tmp_path}/none")
    assert done.returncode == 1
    failed, fine = runs_in(tmp_path / "runs")
    assert (failed.state(), fine.state()) == ("failed", "done")
    assert failed.name in done.stdout
    assert "1 of 2 runs have no result yet; once that is mended, the same command" in done.stdout
    assert "data=digits runs on built-in data" in done.stderr
    assert "Traceback" not in done.stderr
    assert "CIFAR-10 is not there" in done.stdout


def test_bad_input_leaves_no_trace(tmp_path: Path) -> None:
    refused = call(tmp_path, "dept=20")
    assert refused.returncode == 2
    assert "did you mean 'depth'" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_runs_side_by_side(tmp_path: Path) -> None:
    """cluster=joblib: the same bytes as one after the other."""
    words = ["-m", *ALONE, "recipe.iterations=10", "recipe.milestones=[]", "model=plain,residual"]
    assert call(tmp_path, *words, "cluster=joblib", "machine.runs=side").returncode == 0
    assert call(tmp_path, *words, "machine.runs=serial").returncode == 0
    side, serial = (runs_in(tmp_path / name) for name in ("side", "serial"))
    assert [r.curves.read_bytes() for r in side] == [r.curves.read_bytes() for r in serial]
    assert len(side) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--help"], "usage: degradation [COMMAND]"),
        (["plan", "--help"], "usage: degradation plan"),
        (["train", "--help"], "+sweeps=figure6"),
        (["data=digits", "--cfg", "job", "--package", "data"], "name: digits"),
    ],
)
def test_the_one_command_hands_on_to_the_others(tmp_path: Path, words, says: str) -> None:
    done = call(tmp_path, *words, module="degradation")
    assert done.returncode == 0 and says in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_hydras_own_sweeper_trains_too(tmp_path: Path, launcher: str) -> None:
    """Without our checks beforehand, and with its exit status for a run that has no result."""
    words = ["-m", "hydra/sweeper=basic", f"hydra/launcher={launcher}", *ALONE]
    done = call(tmp_path, *words, "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert [r.state() for r in runs_in(tmp_path / "runs")] == ["done", "done"]
    failed = call(tmp_path, *words, "data=cifar10", "data.root=none", "data.download=false")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr


def test_hydra_searches_the_settings_alone(tmp_path: Path) -> None:
    """Not the checkout, in which an environment or a data set of a million files may lie: `--help`
    would walk through it."""
    done = call(tmp_path, "--info", "searchpath")
    assert set(re.findall(r"file://(\S+)", done.stdout)) == {str(CONF)}
