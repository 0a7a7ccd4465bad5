"""Do the same to many files, on several cores, in order: results come as the files go in."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from tqdm import tqdm

from degradation.system.signals import end_with_parent, held_back

T = TypeVar("T")
U = TypeVar("U")

CHUNK = 32  # files that a process takes at a time
MANY = 256  # files below which starting processes takes longer than they save


def cores() -> int:
    return len(os.sched_getaffinity(0))


def spread(
    work: Callable[[T], U], items: Sequence[T], title: str, workers: int | None = None
) -> Iterator[U]:
    """`work` of each item, in order, under a progress bar. Raises what `work` raises."""
    workers = cores() if workers is None else workers
    bar: partial[tqdm[Any]] = partial(
        tqdm, total=len(items), desc=title, unit="image", disable=None, leave=False
    )
    if workers < 2 or len(items) < MANY:
        yield from bar(map(work, items))
        return
    context = multiprocessing.get_context("fork")  # ready at once: torch is imported already
    pool = ProcessPoolExecutor(workers, context, initializer=leave_signals_to_parent)
    try:
        with held_back():
            done = pool.map(work, items, chunksize=CHUNK)
        yield from bar(done)
    except BrokenProcessPool as error:
        raise RuntimeError(f"{title}: a process that reads images died; often the system is out "
                           "of memory") from error  # fmt: skip
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def leave_signals_to_parent(worker: int = 0) -> None:
    """In a process that reads images: it ends with its parent, who alone hears Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it went before it could be watched
        os._exit(1)
