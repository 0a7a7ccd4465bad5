"""A command in a process of its own, forked: what it says, how it ends, how long it took.

The fork starts with everything imported, so that hundreds of commands take seconds. Folder,
environment, user and limits are the child's alone.
"""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
PATIENCE = 60


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
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's idle threads
            pid = os.fork()
        if pid == 0:
            _child(command, folder, said.fileno(), variables or {}, user, memory)
        _, ended = os.waitpid(pid, 0)
        seconds = time.monotonic() - began
        said.seek(0)
        text = said.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(ended)
    return Outcome(status if status >= 0 else 128 - status, text, seconds)


def _child(
    command: Callable[[], object],
    folder: Path,
    said: int,
    variables: Mapping[str, str],
    user: int | None,
    memory: int | None,
) -> None:
    status = 70
    try:
        signal.alarm(PATIENCE)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        os.chdir(folder)
        for name in [n for n in os.environ if n.startswith("WANDB")]:
            del os.environ[name]
        os.environ.update(variables)
        if memory is not None:
            limit = _address_space() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        with contextlib.suppress(SystemExit):
            try:
                status = int(command() or 0)  # type: ignore[call-overload]
            except SystemExit as left:
                status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 70
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def can_drop_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
