"""SLURM's signal, without SLURM: the run saves, and only then the job is queued again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.launch import slurm
from degradation.system import process_group
from tests.conftest import wait_until

# Plays submitit: its handler notes what the run has left by then, and leaves.
JOB = """
import json, os, signal, sys
from pathlib import Path
from degradation.config import compose
from degradation.launch import process, slurm

runs, note = sys.argv[1], Path(sys.argv[2])
[settings] = compose.runs_of([
    "data=digits", "depth=8", "recipe.iterations=100000", "recipe.milestones=[]",
    "machine.device=cpu", "machine.wandb=disabled", "machine.progress=none",
    f"machine.runs={runs}"])

def queue_again(number, frame):
    [folder] = Path(runs).glob("digits-*")
    note.write_text(json.dumps(sorted(p.name[:18] for p in (folder / "checkpoints").iterdir())))
    sys.exit(7)

signal.signal(signal.SIGUSR2, queue_again)
with slurm.requeued():
    process.train_alone(settings)
"""


def start(tmp_path: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", JOB, str(tmp_path / "runs"), str(tmp_path / "note")]
    environment = os.environ | {"SUBMITIT_EXECUTOR": "slurm"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_until(lambda: any((tmp_path / "runs").glob("*/curves.jsonl")))
    return process


def workers(process: "subprocess.Popen[bytes]") -> list[int]:
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def test_the_run_saves_before_the_job_is_queued_again(tmp_path: Path) -> None:
    """The signal comes as from SLURM: to every process of the job."""
    process = start(tmp_path)
    for pid in [process.pid, *workers(process)]:
        os.kill(pid, signal.SIGUSR2)
    assert process.wait(30) == 7
    [folder] = (tmp_path / "runs").glob("digits-*")
    there = sorted(p.name[:18] for p in (folder / "checkpoints").iterdir())
    assert there and (tmp_path / "note").read_text() == str(there).replace("'", '"')
    assert not (folder / "failed.json").exists()


def test_being_ended_is_no_reason_to_be_queued_again(tmp_path: Path) -> None:
    process = start(tmp_path)
    process.terminate()
    assert process.wait(30) not in (0, 7)
    assert not (tmp_path / "note").exists()


@pytest.mark.parametrize("executor", ["local", ""])
def test_elsewhere_the_signal_is_left_alone(executor: str, monkeypatch) -> None:
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    before = signal.getsignal(signal.SIGUSR2)
    with slurm.requeued():
        assert signal.getsignal(signal.SIGUSR2) is before
    assert slurm.signal_to_save() is None
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert slurm.signal_to_save() == signal.SIGUSR1


def test_a_job_of_several_tasks_says_who_is_who(monkeypatch) -> None:
    job = {"NTASKS": 4, "PROCID": 3, "LOCALID": 1, "JOB_ID": 81234}
    environment = {f"SLURM_{name}": str(number) for name, number in job.items()}
    environment |= {"SUBMITIT_EXECUTOR": "slurm", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"}
    monkeypatch.setattr(os, "environ", environment)
    slurm.set_ranks()
    assert process_group.rank_and_world_size() == (3, 4)
    assert process_group.local_rank() == 1
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("10.0.0.7", "21234")
