"""cluster=slurm on a real SLURM (slurm_here.py); it skips where there can be none."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from degradation.runs.run_dir import RunDir, runs_in
from tests.conftest import wait_until
from tests.launch.slurm_here import SLURM, STUDY, absent, ask, cluster, start, train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(absent()), reason=absent())]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a cluster that is up; it ends with the module."""
    with cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


def assert_bytes_of_a_serial_run(run: RunDir, folder: Path) -> None:
    [serial] = runs_in(folder / "serial")
    assert run.curves.read_bytes() == serial.curves.read_bytes()


def test_a_study_as_a_job_array_with_a_run_that_fails(slurm, tmp_path: Path) -> None:
    """The failing run is named, the others finish, and their bytes are those of a serial run."""
    words = [*STUDY, "recipe.iterations=40", "recipe.eval_every=10"]
    mixed = ["data=cifar10,digits", "recipe=digits", "data.root=/none", "data.download=false"]
    status, out, err = train(tmp_path, slurm, *words, *mixed, *SLURM)
    assert status == 1, err
    failed, fine = runs_in(tmp_path / "runs")
    assert (failed.state(), fine.state()) == ("failed", "done"), err
    assert f"failed: {failed.name} CIFAR-10 is not there" in out
    assert "1 of 2 runs have no result yet" in out
    assert "Traceback" not in err
    assert train(tmp_path, slurm, *words, "machine.runs=serial")[0] == 0
    assert_bytes_of_a_serial_run(fine, tmp_path)


def test_a_run_whose_time_is_up_goes_on_in_a_job_of_its_own(slurm, tmp_path: Path) -> None:
    """SLURM's signal comes by hand here, and the two minutes' wait is cut short."""
    words = [*STUDY, "recipe.iterations=500", "recipe.eval_every=25"]
    process = start(tmp_path, slurm, *words, *SLURM)
    wait_until(lambda: any(len(r.rows()) > 3 for r in runs_in(tmp_path / "runs")), 90)
    [run] = runs_in(tmp_path / "runs")
    assert run.result() is None
    job = ask(slurm, "squeue", "-h", "-o", "%A")
    ask(slurm, "scancel", "--signal=USR2", job)
    wait_until(lambda: ask(slurm, "squeue", "-h", "-o", "%T") == "PENDING", 90)
    saved = max(int(p.name[10:18]) for p in run.checkpoints.iterdir())
    assert saved >= run.rows()[-1]["iteration"] >= 75

    time.sleep(3)  # SLURM revokes what was running by the second: a job of the same one is dead

    def started() -> bool:
        ask(slurm, "scontrol", "update", f"JobId={job}", "StartTime=now")
        return ask(slurm, "squeue", "-h", "-o", "%T") != "PENDING"

    wait_until(started, 200)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    starts = run.launches_jsonl.read_text().splitlines()
    assert len(starts) == 2
    assert f'"iteration": {saved},' in starts[1]
    assert train(tmp_path, slurm, *words, "machine.runs=serial")[0] == 0
    assert_bytes_of_a_serial_run(run, tmp_path)


def test_a_run_on_two_nodes_is_what_torchrun_would_train(slurm, tmp_path: Path) -> None:
    words = [*STUDY[1:], "model.ghost_batch_size=8", "recipe.iterations=60", "recipe.eval_every=20"]
    status, _, err = train(tmp_path, slurm, "-m", *words, *SLURM, "hydra.launcher.nodes=2")
    assert status == 0, err
    [run] = runs_in(tmp_path / "runs")
    assert json.loads(run.launches_jsonl.read_text())["fingerprint"]["processes"] == 2
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "degradation.run", *words, "machine.runs=serial"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env=slurm, capture_output=True)
    assert_bytes_of_a_serial_run(run, tmp_path)


def test_a_job_trains_as_many_runs_as_one_device_takes(slurm, tmp_path: Path) -> None:
    words = [*STUDY, "recipe.iterations=40", "recipe.eval_every=10", "seed=0,1,2"]
    status, _, err = train(tmp_path, slurm, *words, *SLURM, "machine.runs_per_gpu=2")
    assert status == 0, err
    assert "3 of them go to submitit_slurm in 2 jobs" in err
    assert len(runs_in(tmp_path / "runs")) == 3
