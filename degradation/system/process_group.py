"""Which processes train one run together: what torchrun and SLURM put in the environment."""

import os


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and how many processes there are; (0, 1) for one alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def local_rank() -> int:
    """The rank among the processes of this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def take_from_slurm() -> None:
    """Set the variables that torchrun would, in a job of several tasks that submitit started."""
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm" or tasks == 1:
        return
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(tasks),
        # The batch script, and so srun, runs on the job's first node, as task 0 does.
        "MASTER_ADDR": os.environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(20_000 + int(os.environ["SLURM_JOB_ID"]) % 40_000),
    }


def local_world_size() -> int:
    """How many of the run's processes share this machine's cores, as torchrun says.

    SLURM gives each task cores of its own.
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
