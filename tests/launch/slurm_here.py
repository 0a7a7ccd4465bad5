"""A SLURM of our own: a controller and two nodes, all of them on this machine.

It needs root, `slurm-wlm` and `munge` (apt-get install slurm-wlm munge).
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
PATH = f"{os.environ['PATH']}:/usr/sbin"
MISSING = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
LOCAL = ("127.0.0.1", 0)
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
STUDY = [
    *("-m", "data=digits", "depth=8", "recipe.batch_size=32", "model.width=4"),
    *("recipe.milestones=[20]", "machine.device=cpu", "machine.wandb=disabled"),
]
SLURM = [
    *("cluster=slurm", "hydra.launcher.gpus_per_node=null"),
    *("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"),
]


def absent() -> str:
    """Why there can be none here; "" where there can."""
    if MISSING:
        return f"no SLURM here: {', '.join(MISSING)} missing"
    return "" if os.geteuid() == 0 else "a SLURM of our own needs root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a cluster that is up, with its files in `folder`."""
    (folder / "munge").mkdir()
    (folder / "state").mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    with (
        socket.create_server(LOCAL) as a,
        socket.create_server(LOCAL) as b,
        socket.create_server(LOCAL) as c,
    ):
        ports = [one.getsockname()[1] for one in (a, b, c)]
    configuration = CONFIGURATION.format(folder=folder, host=socket.gethostname(), ports=ports)
    (folder / "slurm.conf").write_text(configuration)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "WANDB"))}
    environment = kept | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    munge = [
        f"--{name}={folder}/munge/{name.partition('-')[0]}"
        for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")
    ]
    daemons = [
        ["munged", "--force", "--foreground", *munge],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", n] for n in ("n1", "n2")),
    ]
    running, quiet = [], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        for daemon in daemons:
            running.append(subprocess.Popen(daemon, env=environment, **quiet))
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


def start(folder: Path, environment: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    """A study in a folder."""
    command, pipe = [sys.executable, "-m", "degradation.run", *words], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe
    )


def train(folder: Path, environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Its exit status and what it printed."""
    process = start(folder, environment, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
