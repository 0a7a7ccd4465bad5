"""A forked child process: it has everything imported already, so that hundreds take seconds.

What a child replaces (functions, limits, environment) ends with it.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CRASHED = 70  # the status of a child that an exception ended; no command of ours has it
LONGEST = 900  # seconds after which SIGALRM ends a child

Body = Callable[[], int | None]


@dataclass(frozen=True)
class End:
    """How a child ended: its exit status, or minus the signal that ended it; what it printed."""

    status: int
    output: str

    def problem(self, status: int, *words: str) -> str:
        """What is wrong unless it ended with `status` and printed all `words` and no traceback."""
        missing = [word for word in words if word not in self.output]
        if self.status == status and not missing and "Traceback" not in self.output:
            return ""
        return f"status {self.status}, without {missing}: {self.output.strip()[-300:]}"


def start(body: Body, log: Path) -> int:
    """The pid of a child that runs `body`, whose result is its exit status; it prints to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():  # the threads of pytest and torch do no harm here
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        signal.alarm(LONGEST)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have started us
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
    """The exit status of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(body: Body, log: Path) -> End:
    """Run `body` in a child, to its end."""
    before = log.stat().st_size if log.exists() else 0
    status = wait(start(body, log))
    return End(status, log.read_bytes()[before:].decode(errors="replace"))
