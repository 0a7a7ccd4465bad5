"""Every byte the product writes goes through here: atomic file, appended line, lock.

A name never stands for half a file: bytes go to a temporary name in the same folder, are forced to
the disk, and take the name in one step. A line is appended by one `write` call, so that a process
killed at any moment tears at most the last line, which readers ignore.
"""

import errno
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class Busy(RuntimeError):
    """Another process holds the lock; the message says which."""


def write_atomically(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, or leave it as it was. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        try:
            if content:  # a full disk fails here, before the first byte
                with suppress_unsupported():
                    os.posix_fallocate(descriptor, 0, len(content))
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`value` as an indented JSON file, atomically; NaN is refused."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none. Raises ValueError, with the path."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def append_line(path: Path, line: str) -> None:
    """Append `line` and a newline in one write."""
    with appending(path) as descriptor:
        write_all(descriptor, line.encode() + b"\n")


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """A descriptor whose writes go to the end of `path`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """All of `content`, however many calls it takes; usually one."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def truncate(path: Path, size: int) -> None:
    """Cut `path` to its first `size` bytes."""
    os.truncate(path, size)


def move(source: Path, target: Path) -> None:
    """Give a complete file its name, durably."""
    source.replace(target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove `path`, if it is there."""
    path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress_unsupported():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def suppress_unsupported() -> Iterator[None]:
    """Pass over what a file system doesn't offer; every other failure counts."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `path` alone; the kernel lets go when the process ends, however it ends.

    Raises Busy, with the holder's pid, host and start, unless it may `wait`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(descriptor, path, wait)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        os.truncate(descriptor, 0)
        os.pwrite(
            descriptor, f"pid {os.getpid()} on {socket.gethostname()} since {since}".encode(), 0
        )
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait: bool) -> None:
    for patience in (0.05, 0.1, 0.2, 0.0):  # `is_locked` holds it for a moment, too
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            time.sleep(patience)
    raise Busy(f"{path.parent} is in use by {holder(path)}")


def is_locked(path: Path) -> bool:
    """Whether a living process holds `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's, whom we can't ask
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> str:
    """What the holder of a lock wrote into it."""
    try:
        return path.read_text(errors="replace") or "another process"
    except OSError:
        return "another user's process"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
