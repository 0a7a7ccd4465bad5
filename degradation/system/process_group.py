"""Which processes train one run together: what torchrun puts in the environment."""

import os


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and how many processes there are; (0, 1) for one alone."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def local_rank() -> int:
    """The rank among the processes of this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def local_world_size() -> int:
    """How many of the run's processes share this machine's cores, as torchrun says.

    SLURM gives each task cores of its own.
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
