"""Whether other processes train the same point: what torchrun and SLURM say of it; no torch."""

import os

from degradation.schema import Invalid
from degradation.spec import Point


def expected() -> tuple[int, int]:
    """This process's number and how many there are, as torchrun and SLURM's launcher say it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def meet_by_slurm() -> None:
    """Say it as torchrun would, in a job of several tasks that submitit has started."""
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm" or tasks == 1:
        return
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "WORLD_SIZE": str(tasks),
        # Its batch script, and so srun, runs on the job's first node, as task 0 does.
        "MASTER_ADDR": os.environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(20_000 + int(os.environ["SLURM_JOB_ID"]) % 40_000),
    }


def local_rank() -> int:
    """The number among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def check(point: Point, size: int, parts: int = 1) -> None:
    """Refuse what `size` processes, or a batch in `parts`, would train as another network than one
    process does with the batch as a whole. Raises Invalid.

    Batch normalisation looks at the pictures that are there together: only where it is asked to
    look at that many or fewer at a time (`model.ghost`) do these numbers change nothing.
    """
    if size * parts == 1:
        return
    batch, ghost = point.recipe.batch, point.model.ghost
    how = f"{size} processes" + (f" × machine.accumulate={parts}" if parts > 1 else "")
    if batch % (size * parts):
        raise Invalid(f"recipe.batch={batch}: must be a multiple of {size * parts} ({how})")
    own = batch // (size * parts)
    if point.model.norm and (ghost is None or own % ghost):
        raise Invalid(
            f"model.ghost={'null' if ghost is None else ghost}: {own} of the {batch} pictures are "
            f"together ({how}), and are normalised together;\nsay model.ghost={own}, or a divisor "
            "of it: a point of its own, the same on any number of processes"
        )
