"""A process of its own, forked: it starts with everything imported, so that hundreds take seconds.

What a child replaces (functions, limits, folder, environment, user) ends with it.
"""

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CRASHED = 70  # the status of a child that an exception ended; no command of ours has it
PATIENCE = 60
LONGEST = 900  # seconds after which a child that hangs is ended, by SIGALRM


def start(
    body: Callable[[], int | None], log: Path, *, session: bool = False, longest: int = LONGEST
) -> int:
    """The pid of a child that runs `body`, whose result is its exit status; it writes to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():  # threads of pytest's and torch's are no trouble to us
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        signal.alarm(longest)
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


@dataclass(frozen=True)
class Outcome:
    """How a command ended: status (128 + n by signal n), all that it printed, seconds."""

    status: int
    text: str
    seconds: float


def run(
    command: Callable[[], object],
    folder: Path,
    variables: Mapping[str, str] | None = None,
    user: int | None = None,
    memory: int | None = None,
) -> Outcome:
    """Run `command` in a child; what it returns, or exits with, is the status.

    `user`: drop to that one, which takes root. `memory`: bytes of address space beyond today's.
    """

    def body() -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(folder)
        for name in [n for n in os.environ if n.startswith("WANDB")]:
            del os.environ[name]
        os.environ.update(variables or {})
        if memory is not None:
            limit = _address_space() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        return int(command() or 0)  # type: ignore[call-overload]

    with tempfile.NamedTemporaryFile() as said:
        began = time.monotonic()
        status = wait(start(body, Path(said.name), longest=PATIENCE))
        seconds = time.monotonic() - began
        text = said.read().decode(errors="replace")
    return Outcome(status if status >= 0 else 128 - status, text, seconds)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def can_drop_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
