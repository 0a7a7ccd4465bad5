"""A trial in a forked child: the parent has imported torch already, so it costs no start.

What a child replaces (functions, limits, signals) ends with it.
"""

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from degradation import data as sources
from degradation import provenance, spec, worker
from degradation.data.pictures import Pictures
from degradation.state import fresh
from degradation.store import Run

from .pair import machine

LONGEST = 900  # seconds after which a child that hangs is ended, by SIGALRM

Change = Callable[[], object]


@dataclass(frozen=True)
class End:
    """How a child ended: its exit status, or minus the signal that ended it; what it said."""

    status: int
    said: str


def start(body: Callable[[], int | None], log: Path, *, session: bool = False) -> int:
    """The pid of a child that runs `body`, whose result is its exit status; it writes to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():  # threads of pytest's own are no trouble to us
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(LONGEST)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started us
        if session:
            os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        status = body() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        with suppress(OSError):
            traceback.print_exc()
    finally:  # nothing may get past this line: above it is the parent's own stack
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def wait(pid: int) -> int:
    """The exit status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def ended(pid: int) -> int | None:
    """The exit status of a child that has ended; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def child(body: Callable[[], int | None], log: Path) -> End:
    """Run `body` in a child, to its end."""
    before = log.stat().st_size if log.exists() else 0
    status = wait(start(body, log))
    return End(status, log.read_bytes()[before:].decode(errors="replace"))


def body_of(run: Run, *changes: Change, how: spec.Machine | None = None) -> Callable[[], int]:
    """The body of a child that trains what is in `run`, as `degradation.worker` would.

    Each of `changes` is called in the child first.
    """
    settings = how or machine(run.folder.parent)
    words = [str(run.folder), worker.json.dumps(spec.plain(settings))]

    def body() -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for change in (find_done, *changes):
            change()
        return worker.main(words)

    return body


def once(run: Run, *changes: Change, log: Path | None = None) -> End:
    """Train what is in `run`, in a child, until it ends."""
    return child(body_of(run, *changes), log or log_of(run))


def log_of(run: Run) -> Path:
    """Where a child that trains `run` says what it says: beside the run's folder."""
    return run.folder.with_suffix(".said")


def warm(*points: spec.Point) -> None:
    """Let this process import and read once what its children would each need."""
    import torch._inductor

    for point in points:
        _read[point.data.name] = sources.load(point.data)
        fresh(point, _read[point.data.name], torch.device("cpu"))


_read: dict[str, Pictures] = {}


def find_done() -> None:
    """In a child: use what `warm` has read."""
    real = sources.load
    sources.load = lambda data: _read[data.name] if data.name in _read else real(data)
    provenance.commit = lambda: "soak"


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until `condition` holds; whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
