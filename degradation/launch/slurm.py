"""Under SLURM: before the time is up, the run saves, and only then the job is queued again.

submitit queues a job again as soon as its signal arrives, and SLURM then ends what still runs. The
signal reaches every process of the job, and would end the run's before it has saved. So here the
run's process never sees it: the signal is held back, asks the run to stop, and is passed on to
submitit once that has saved and left.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from degradation.launch.process import Interrupted, stopping


@contextmanager
def requeued() -> Iterator[None]:
    """Queue the job again where SLURM's signal ended what is done inside; elsewhere, nothing."""
    number = expected()
    if number is None:
        yield
        return
    stopping.listen()
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None = None) -> None:
        if not heard.is_set():
            heard.set()
            os.kill(os.getpid(), signal.SIGTERM)  # as if one had asked us to stop

    submitit = signal.signal(number, hear)
    # Processes that are started from here inherit the mask. A library's thread may have another
    # one: then the handler hears it, else the thread below.
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    threading.Thread(target=lambda: hear(signal.sigwait([number])), daemon=True).start()
    try:
        yield
    except Interrupted:
        if not heard.is_set():
            raise
    if heard.is_set():
        signal.signal(number, submitit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        signal.raise_signal(number)


def expected() -> int | None:
    """The signal that asks a SLURM job of submitit to save; None elsewhere."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
