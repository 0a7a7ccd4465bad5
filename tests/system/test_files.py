"""Whole files or none, lines in one write, and locks that end with their process."""

import errno
import math
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from degradation.system import files

OLD, NEW = b"old\n", b"new content\n" * 1000


def refuse(number: int) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds OLD, alone in its folder."""
    path = tmp_path / "file"
    files.write_atomically(path, OLD)
    return path


def test_write_makes_and_replaces(path: Path) -> None:
    for content in (NEW, b""):
        files.write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_the_disk_has_the_bytes_before_their_name_and_then_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a power cut at any moment leaves the old content or the new one."""
    steps: list[str | int] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        steps.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    files.write_atomically(path, NEW)
    assert steps == [len(NEW), "rename", "folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("owner", "operation"), [(os, "open"), (os, "write"), (os, "fsync"), (Path, "replace")]
)
def test_whatever_fails_the_old_content_stays(
    path: Path, owner: Any, operation: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, operation, refuse(number))
        with pytest.raises(files.StorageError, match=os.strerror(number)):
            files.write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_comes_with_need_have_and_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "write", refuse(errno.ENOSPC))
    with pytest.raises(files.StorageError) as refusal:
        files.write_atomically(tmp_path / "x", b"1" * 3_000_000)
    message = str(refusal.value)
    assert f"can't write {tmp_path / 'x'}: No space left on device" in message
    assert f"need 3.0 MB, {tmp_path} has " in message
    assert "free some space, or give machine.runs=OTHER" in message


def test_room_is_checked_before_it_is_needed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "free", lambda folder: 5_000_000)
    files.check_room(tmp_path, 5_000_000)
    with pytest.raises(files.StorageError, match=r"need 6\.0 MB, .* has 5\.0 MB free"):
        files.check_room(tmp_path, 6_000_000)


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda path: files.remove(path), "unlink"),
        (lambda path: files.remove_temporary(path.parent), "unlink"),
        (lambda path: files.truncate(path, 1), "truncate"),
        (lambda path: files.append_line(path, "x"), "close"),
        (lambda path: files.read(path), "open"),
    ],
)
def test_every_refusal_is_a_storage_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], None], operation: str
) -> None:
    (path.parent / ".old.1.tmp").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, refuse(errno.EIO))
        patch.setattr("io.open", refuse(errno.EIO))
        with pytest.raises(files.StorageError, match="Input/output error"):
            call(path)


def test_a_file_where_a_folder_must_be_is_named(path: Path) -> None:
    for folder in (path, path / "below"):
        with pytest.raises(files.StorageError, match=f"can't write {folder}"):
            files.make_folder(folder)


def test_json_round_trip_without_nan(path: Path) -> None:
    odd = os.fsdecode(b"a\xffb")  # a path that is no UTF-8
    value = {"é": [1, 0.1, None, True], "b": {"c": "×"}, "path": odd}
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert "é" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": math.nan})
    assert files.read_json(path) == value


def test_a_line_that_fits_in_part_leaves_nothing(path: Path, monkeypatch) -> None:
    write = os.write

    def half(descriptor: int, content: bytes) -> int:
        if bytes(content) == b"cond\n":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(content)[:2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(files.StorageError, match="No space left"):
        files.append_line(path, "second")
    assert path.read_bytes() == OLD


HOLD = """
import sys
from pathlib import Path
from degradation.system import files
with files.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1] + ".done").touch()
"""
Held = tuple[Path, "subprocess.Popen[str]"]


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    """A lock, and the process that holds it until it reads a line."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield path, process
        process.kill()


def test_a_lock_names_its_holder_and_ends_with_it(held: Held) -> None:
    path, process = held
    message = rf"^{path.parent} is in use by pid {process.pid} on \S+ since \d{{4}}-"
    for _ in range(2):  # an attempt must not erase the holder's name
        with pytest.raises(files.LockedError, match=message), files.lock(path):
            raise AssertionError("two hold it")
    assert files.is_locked(path)
    process.kill()
    process.wait()
    assert not files.is_locked(path)
    assert not files.is_locked(path / "below a file")
    with files.lock(path):
        assert path.read_text().startswith(f"pid {os.getpid()} on ")


def test_a_lock_can_be_waited_for(held: Held) -> None:
    path, process = held
    assert process.stdin is not None
    # Later than a lock that may not wait would give up.
    timer = threading.Timer(0.6, lambda: print(file=process.stdin, flush=True))
    timer.start()
    with files.lock(path, wait=True):
        assert path.with_name("lock.done").exists()
    timer.join()
