"""cluster=slurm on a real SLURM: a controller and two nodes, all of them on this machine.

It needs root, `slurm-wlm` and `munge` (apt-get install slurm-wlm munge), and skips without.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from degradation.store import Run, runs_in

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
MISSING = [p for p in PROGRAMS if shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no SLURM here: {', '.join(MISSING)} missing"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a SLURM of our own needs root"),
]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
SchedulerType=sched/backfill
JobAcctGatherType=jobacct_gather/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
STUDY = ["-m", "data=digits", "depth=8", "recipe.batch=32", "model.width=4", "recipe.drops=[20]",
         "machine.device=cpu", "machine.wandb=disabled"]  # fmt: skip
SLURM = ["cluster=slurm", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1",
         "hydra.launcher.mem_gb=1"]  # fmt: skip


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a cluster that is up; it ends with the module."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "munge").mkdir()
    (folder / "state").mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        sockets = (a, b, c)
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    configuration = CONFIGURATION.format(folder=folder, host=socket.gethostname(), ports=ports)
    (folder / "slurm.conf").write_text(configuration)
    path = f"{os.environ['PATH']}:/usr/sbin"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "WANDB"))}
    environment = kept | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    munge = [f"--{name}={folder}/munge/{name.partition('-')[0]}"
             for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")]  # fmt: skip
    daemons = [["munged", "--force", "--foreground", *munge], ["slurmctld", "-D"],
               *(["slurmd", "-D", "-N", n] for n in ("n1", "n2"))]  # fmt: skip
    running = []
    try:
        for daemon in daemons:
            running.append(subprocess.Popen(
                daemon, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ))  # fmt: skip
            time.sleep(0.5)
        wait_until(lambda: ask(environment, "sinfo", "-h", "-o", "%T") == "idle", 30)
        yield environment
    finally:
        ask(environment, "scancel", "--user=root")
        with suppress(AssertionError):  # else a job's steps would outlive the nodes
            wait_until(lambda: ask(environment, "squeue", "-h") == "", 40)
        for process in reversed(running):
            process.terminate()
        for process in running:
            process.wait(20)


def ask(environment: dict[str, str], *words: str) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip()


def wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def start(folder: Path, environment: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "degradation.run", *words], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def train(folder: Path, environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    process = start(folder, environment, *words)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_a_study_as_a_job_array_with_a_point_that_fails(slurm, tmp_path: Path) -> None:
    """The failing point is named, the others finish, and their bytes are those of a serial run."""
    words = [*STUDY, "recipe.iterations=40", "recipe.eval_every=10"]
    mixed = ["data=cifar10,digits", "recipe=digits", "data.root=/none", "data.download=false"]
    status, out, err = train(tmp_path, slurm, *words, *mixed, *SLURM)
    assert status == 1, err
    failed, fine = runs_in(tmp_path / "runs")
    assert (failed.state(), fine.state()) == ("failed", "done"), err
    assert f"failed: {failed.name} CIFAR-10 is not there" in out
    assert "1 of 2 points have no result yet" in out
    assert "Traceback" not in err
    status, *_ = train(tmp_path, slurm, *words, "machine.runs=serial")
    assert status == 0
    [serial] = runs_in(tmp_path / "serial")
    assert fine.curves.read_bytes() == serial.curves.read_bytes()


def test_a_point_whose_time_is_up_goes_on_in_a_job_of_its_own(slurm, tmp_path: Path) -> None:
    """SLURM's signal comes by hand here, and the two minutes' wait is cut short."""
    words = [*STUDY, "recipe.iterations=500", "recipe.eval_every=25"]
    process = start(tmp_path, slurm, *words, *SLURM)
    wait_until(lambda: any(len(r.rows()) > 3 for r in runs_in(tmp_path / "runs")))
    [run] = runs_in(tmp_path / "runs")
    assert run.result() is None
    job = ask(slurm, "squeue", "-h", "-o", "%A")
    ask(slurm, "scancel", "--signal=USR2", job)
    wait_until(lambda: ask(slurm, "squeue", "-h", "-o", "%T") == "PENDING")
    saved = max(int(p.name[10:18]) for p in run.checkpoints.iterdir())
    assert saved >= run.rows()[-1]["iteration"] >= 75
    ask(slurm, "scontrol", "update", f"JobId={job}", "StartTime=now")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    starts = run.starts.read_text().splitlines()
    assert len(starts) == 2
    assert f'"iteration": {saved},' in starts[1]
    status, *_ = train(tmp_path, slurm, *words, "machine.runs=serial")
    assert status == 0
    [serial] = runs_in(tmp_path / "serial")
    assert run.curves.read_bytes() == serial.curves.read_bytes()


def test_the_command_may_be_left_and_the_points_go_on(slurm, tmp_path: Path) -> None:
    process = start(tmp_path, slurm, *STUDY, "recipe.iterations=200", "recipe.eval_every=50",
                    *SLURM)  # fmt: skip
    wait_until(lambda: runs_in(tmp_path / "runs"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the points stay in the queue" in err
    [run] = runs_in(tmp_path / "runs")
    wait_until(lambda: run.state() == "done")
    assert isinstance(run, Run)
