"""Every byte the product writes goes through here: atomic file, appended line, lock.

A name never stands for half a file: bytes go to a temporary name in the same folder, are forced to
the disk, and take the name in one step. A line is appended by one `write` call, so that a process
killed at any moment tears at most the last line, which readers ignore. What the disk refuses is
raised as StorageError, with what was there before still in place.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

FILE_MODE, FOLDER_MODE, LOCK_MODE = 0o644, 0o755, 0o600
TEMPORARY = ".tmp"
_PIECE = 2**20  # bytes read at a time
Bytes = bytes | memoryview


class LockedError(RuntimeError):
    """Another process holds the lock; the message says which."""


class StorageError(OSError):
    """The disk refused; the message says what, why, and what helps."""

    def __init__(self, path: Path, cause: OSError, need: int = 0) -> None:
        sizes = ""
        if need and cause.errno in _OF_SPACE:
            have = megabytes(free(path.parent))
            sizes = f"; need {megabytes(need)}, {path.parent} has {have} free"
        super().__init__(
            cause.errno,
            f"can't write {path}: {cause.strerror or cause}{sizes}. What was there is as it was; "
            f"{remedy(cause)}, and give the same command again",
        )

    def __str__(self) -> str:
        return str(self.args[1])


_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.ENOSPC: "free some space, or say machine.runs=OTHER",
    errno.EDQUOT: "free some of your quota, or say machine.runs=OTHER",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "the file system is read-only: remount it, or say machine.runs=OTHER",
    errno.EACCES: "let this user write there, or say machine.runs=OTHER",
    errno.EPERM: "let this user write there, or say machine.runs=OTHER",
    errno.ENOLCK: "the file system has no locks: say machine.runs=OTHER, on a local disk",
    errno.ENOTDIR: "it, or a part of it, is a file: move that away, or say machine.runs=OTHER",
    errno.EEXIST: "it is a file: move that away, or say machine.runs=OTHER",
    errno.ENAMETOOLONG: "its name is too long: say machine.runs=SHORTER",
    errno.ELOOP: "there is a symbolic link in its place: remove that",
    errno.ENXIO: "there is a pipe in its place: remove that",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENOENT: "its folder is gone: leave it there",
}


OF_THE_FILE = (
    errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG,
    errno.EACCES, errno.EPERM,
)  # fmt: skip
"""Why a file can't be read that is no fault of the system's."""


def remedy(cause: OSError) -> str:
    """What helps against it."""
    return _REMEDIES.get(cause.errno or 0, "mend the disk")


@contextmanager
def _writing(path: Path, need: int = 0) -> Iterator[None]:
    """Raise StorageError for whatever the system refuses inside."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(path, error, need) from error


def write_atomically(path: Path, content: Bytes) -> None:
    """Make `path` hold `content`, or leave it as it was. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with _writing(path, len(content)):
            descriptor = _open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                if content:  # a full disk fails here, before the first byte
                    with _unsupported_is_fine():
                        os.posix_fallocate(descriptor, 0, len(content))
                write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as an indented JSON file, atomically; NaN is refused. Raises StorageError."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, encoded(text))


def read(path: Path) -> bytes:
    """What a regular file holds: a pipe or a device might never end. Raises OSError."""
    with _reading(path) as file:
        return file.read()


def read_end(path: Path, size: int) -> tuple[bytes, bool]:
    """The last `size` bytes of a regular file, and whether it has more. Raises OSError."""
    with _reading(path) as file:
        before = max(0, file.seek(0, os.SEEK_END) - size)
        file.seek(before)
        return file.read(), before > 0


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none. Raises ValueError, with the path."""
    try:
        return json.loads(read(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def append_line(path: Path, line: str) -> None:
    """Append `line` and a newline in one write; if that fails, none of it stays. Raises StorageError."""
    content = encoded(line)
    with _writing(path, len(content)), appending(path) as descriptor:
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, content)
        except OSError:
            os.ftruncate(descriptor, size)
            raise


def encoded(line: str) -> bytes:
    """A line's bytes. Half a character, as in a path that is no UTF-8, becomes its escape: valid
    JSON where it was, and readable anywhere else."""
    return line.encode(errors="backslashreplace") + b"\n"


@contextmanager
def appending(path: Path) -> Iterator[int]:
    """A descriptor whose writes go to the end of `path`. Raises StorageError where there can be none."""
    with _writing(path):
        descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield descriptor
    finally:
        with _writing(path):  # some disks refuse as late as this
            os.close(descriptor)


def write_all(descriptor: int, content: Bytes) -> None:
    """All of `content`, however many calls it takes; usually one."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def truncate(path: Path, size: int) -> None:
    """Cut `path` to its first `size` bytes. Raises StorageError."""
    with _writing(path):
        descriptor = _open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)


def move(source: Path, target: Path) -> None:
    """Give a complete file its name, durably. Raises StorageError."""
    with _writing(target):
        source.replace(target)
        sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove `path`, if it is there. Raises StorageError."""
    with _writing(path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove `path` with all that is in it, if it is there. Raises StorageError."""
    with _writing(path), suppress(FileNotFoundError):
        shutil.rmtree(path)


def make_folder(path: Path) -> None:
    """Make `path` and what is above it, for others to read alone. Raises StorageError."""
    with _writing(path):
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def check_folder(path: Path) -> None:
    """Raise StorageError where something else than a folder stands at `path`; nothing may."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except FileNotFoundError:
        refuse_link(path)  # one that leads nowhere
    except OSError as error:
        raise StorageError(path, error) from error


def claim_folder(path: Path) -> None:
    """Make `path`, or see that this user may write in it. Raises StorageError."""
    make_folder(path)
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(path / "…", OSError(errno.EACCES, os.strerror(errno.EACCES)))


def refuse_link(path: Path) -> None:
    """Raise StorageError where a symbolic link stands at `path`: it could lead anywhere."""
    with _writing(path):
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def clean(folder: Path) -> None:
    """Remove what dead processes left under temporary names; for who holds the folder's lock."""
    for path in folder.glob(f".*{TEMPORARY}"):
        remove(path)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _unsupported_is_fine():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free(folder: Path) -> int:
    """Bytes that this user may still write in `folder`; 0 where it can't be told."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return 0
    return space.f_bavail * space.f_frsize


def check_room(folder: Path, need: int) -> None:
    """Raise StorageError unless `folder` has room for `need` bytes."""
    if free(folder) < need:
        raise StorageError(folder / "…", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), need)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _open(path: Path, flags: int) -> int:
    """A link in the file's place is refused: it could lead anywhere; a pipe: it could block."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, FILE_MODE)


@contextmanager
def _unsupported_is_fine() -> Iterator[None]:
    """Pass over what a file system doesn't offer; every other failure counts."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold `path` alone; the kernel lets go when the process ends, however it ends.

    Raises LockedError, with the holder's pid, host and start, unless it may `wait`; StorageError where the file
    system has no locks.
    """
    with _writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, LOCK_MODE)
    try:
        _acquire(descriptor, path, wait)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        who = f"pid {os.getpid()} on {socket.gethostname()} since {since}"
        with suppress(OSError):  # on a full disk the lock holds without it
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, who.encode(), 0)
        yield
    finally:
        with suppress(OSError):  # it is let go of all the same
            os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait: bool) -> None:
    for patience in (0.05, 0.1, 0.2, 0.0):  # `is_locked` holds it for a moment, too
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            time.sleep(patience)
        except OSError as error:
            raise StorageError(path, error) from error
    raise LockedError(f"{path.parent} is in use by {holder(path)}")


def is_locked(path: Path) -> bool:
    """Whether a living process holds `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
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
        return read(path)[:200].decode(errors="replace") or "another process"
    except OSError:
        return "another user's process"


def holds(path: Path, content: Bytes) -> bool:
    """Whether the disk gives `content` back. Raises StorageError where it gives nothing."""
    with _writing(path), path.open("rb") as file:
        for start in range(0, len(content), _PIECE):  # never all of a large file twice in memory
            if file.read(_PIECE) != bytes(content[start : start + _PIECE]):
                return False
        return not file.read(1)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises StorageError where it can't be read."""
    with _writing(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
