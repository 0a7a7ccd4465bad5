"""Every byte that the product writes goes through here: atomic files, appended lines, locks.

A name never stands for half a file: the bytes go to a temporary name in the same folder, are forced
to the disk, and are renamed then. A line is appended by one `write` call, so that a process killed
at any moment tears at most the last line, which readers ignore. What the disk refuses is raised as
StorageError, and what was there before is still in place.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

TEMPORARY = ".tmp"
NO_SPACE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
}


class StorageError(OSError):
    """The disk refused, or another process has the folder; the message says what helps."""

    def __str__(self) -> str:
        return str(self.strerror)


class LockedError(StorageError):
    """Another process holds the lock; the message says which."""


@contextmanager
def _refusals(verb: str, path: Path, need: int = 0) -> Iterator[None]:
    """Raise StorageError for whatever the system refuses inside. `need`: bytes to be written.

    FileNotFoundError stays what it is where a file is read.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if verb == "read" and isinstance(error, FileNotFoundError):
            raise
        sizes = ""
        if need and error.errno in NO_SPACE:
            have = megabytes(free(path.parent))
            sizes = f"; need {megabytes(need)}, {path.parent} has {have} free"
        remedy = NO_SPACE.get(error.errno or 0, "mend the disk")
        message = (
            f"can't {verb} {path}: {error.strerror or error}{sizes}. What was there is unchanged; "
            f"{remedy}, or give machine.runs=OTHER, and give the same command again"
        )
        raise StorageError(error.errno, message) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Make `path` hold `content`, or leave it as it was. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with _refusals("write", path, len(content)):
            with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Not every file system can force a folder to the disk.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`, however many calls that takes; usually one."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def write_json(path: Path, value: Any) -> None:
    """`value` as an indented JSON file, atomically; NaN is refused. Raises StorageError."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, encode_line(text))


def encode_line(line: str) -> bytes:
    """The bytes of a line and its newline. A lone surrogate (from a path that is no UTF-8) becomes
    its escape sequence, which JSON reads back as it was."""
    return line.encode(errors="backslashreplace") + b"\n"


def append_line(path: Path, line: str) -> None:
    """Append `line` and a newline in one write; if that fails, none of it stays.

    Raises StorageError.
    """
    content, flags = encode_line(line), os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with _refusals("write", path, len(content)), _opened(path, flags) as descriptor:
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, content)
        except OSError:
            os.ftruncate(descriptor, size)
            raise


def truncate(path: Path, size: int) -> None:
    """Cut `path` to its first `size` bytes. Raises StorageError."""
    with _refusals("write", path):
        os.truncate(path, size)


def remove(path: Path) -> None:
    """Remove the file `path`, if it is there. Raises StorageError."""
    with _refusals("write", path):
        path.unlink(missing_ok=True)


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes left under temporary names; for the holder of the lock."""
    for path in folder.glob(f".*{TEMPORARY}"):
        remove(path)


def make_folder(path: Path) -> None:
    """Make `path` and what is above it, and check that this user may write there.

    Raises StorageError.
    """
    with _refusals("write", path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def read(path: Path) -> bytes:
    """What a file holds. Raises FileNotFoundError without one, StorageError for the rest."""
    with _refusals("read", path):
        return path.read_bytes()


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none. Raises ValueError and StorageError."""
    try:
        return json.loads(read(path))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises as `read` does."""
    with _refusals("read", path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free(folder: Path) -> int:
    """Bytes that this user may still write in `folder`."""
    return shutil.disk_usage(folder).free


def check_room(folder: Path, need: int) -> None:
    """Raise StorageError unless `folder` has room for `need` bytes."""
    with _refusals("write", folder / "…", need):
        if free(folder) < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `path` alone; the kernel releases it when the process ends, however it ends.

    Raises LockedError, with the holder's pid, host and start, unless it may `wait`; StorageError
    where the file system has no locks.
    """
    # A short timeout instead of none: `is_locked` of another process holds it for a moment, too.
    held = FileLock(path, mode=0o600, timeout=-1 if wait else 0.3)
    with _refusals("write", path):
        try:
            held.acquire(poll_interval=0.05)
        except Timeout:
            holder = ""
            with suppress(OSError):
                holder = path.read_text(errors="replace")[:200]
            message = f"{path.parent} is in use by {holder or 'another process'}"
            raise LockedError(errno.EAGAIN, message) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        # On a full disk the lock holds without the name of its holder.
        with suppress(OSError):
            path.write_text(f"pid {os.getpid()} on {socket.gethostname()} since {since}")
        yield
    finally:
        held.release()


def is_locked(path: Path) -> bool:
    """Whether a living process holds `path`; asks without writing or keeping anyone out."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (BlockingIOError, PermissionError):
        # One that belongs to another user can't be asked.
        return True
    return False
