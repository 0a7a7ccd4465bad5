"""Jobs of SLURM: saved and queued again before their time is up; several tasks that train one run.

submitit queues a job again as soon as SLURM's signal arrives, and SLURM then ends what still runs.
The signal reaches every process of the job, and would end the run's before it has saved. So here
the run's process never sees it: the signal is blocked, asks the run to stop, and is passed on to
submitit once that has saved and left.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from degradation.launch.stopping import Interrupted, stopping


def set_ranks() -> None:
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


@contextmanager
def requeued() -> Iterator[None]:
    """Queue the job again where SLURM's signal ended what is done inside; elsewhere, nothing."""
    number = signal_to_save()
    if number is None:
        yield
        return
    stopping.listen()
    received = threading.Event()

    def stop(number: int, frame: FrameType | None = None) -> None:
        if not received.is_set():
            received.set()
            os.kill(os.getpid(), signal.SIGTERM)

    submitit = signal.signal(number, stop)
    # Processes that are started from here inherit the mask. A library's thread may have another
    # one: then the handler receives the signal, else the thread below.
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    threading.Thread(target=lambda: stop(signal.sigwait([number])), daemon=True).start()
    try:
        yield
    except Interrupted:
        if not received.is_set():
            raise
    if received.is_set():
        signal.signal(number, submitit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        signal.raise_signal(number)


def signal_to_save() -> int | None:
    """The signal that asks a SLURM job of submitit to save; None elsewhere."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
