"""Whole files or none, lines in one write, and locks that end with their process."""

import errno
import fcntl
import json
import math
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from degradation.system import files

OLD, NEW = b"old\n", b"new content\n" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds OLD, alone in its folder."""
    path = tmp_path / "file"
    files.write_atomically(path, OLD)
    return path


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert list(path.parent.iterdir()) == [path]


def test_write_makes_and_replaces(path: Path) -> None:
    files.write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    files.write_atomically(path, b"")
    assert path.read_bytes() == b""
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("owner", "operation"),
    [(os, "posix_fallocate"), (os, "write"), (os, "fsync"), (Path, "replace")],
)
def test_whatever_fails_the_old_content_stays(
    path: Path, owner: Any, operation: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(owner, operation, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            files.write_atomically(path, NEW)
    assert_untouched(path)


def test_a_write_that_fails_half_way_leaves_the_old_content(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(descriptor: int, content: memoryview) -> int:
        if len(content) < len(NEW):
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="full"):
            files.write_atomically(path, NEW)
    assert_untouched(path)


def test_an_interrupt_leaves_the_old_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            files.write_atomically(path, NEW)
    assert_untouched(path)


def test_a_folder_that_cannot_be_synced_is_told_and_the_file_is_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "folder")

    monkeypatch.setattr(files, "sync_folder", fail)
    with pytest.raises(OSError, match="folder"):
        files.write_atomically(path, NEW)
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_fallocate_will_do(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    files.write_atomically(path, NEW)
    assert path.read_bytes() == NEW


def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
    files.write_atomically(path, b"a line of more than seven bytes")
    assert path.read_bytes() == b"a line of more than seven bytes"


LIMITED = """
import os, resource, signal, sys
from pathlib import Path
from degradation.system import files as storage
def unsupported(*_): raise OSError(95, "not here")
if sys.argv[2] == "write":
    os.posix_fallocate = unsupported
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    storage.write_atomically(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("operation", ["fallocate", "write"])
def test_a_file_beyond_the_limit_leaves_the_old_content(path: Path, operation: str) -> None:
    command = [sys.executable, "-c", LIMITED, str(path), operation]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == errno.EFBIG
    assert_untouched(path)


def test_json_round_trip(path: Path) -> None:
    value = {"é": [1, 0.1, None, True], "b": {"c": "×"}}
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert "é" in path.read_text(encoding="utf-8")


def test_json_refuses_nan(path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": math.nan})
    assert_untouched(path)


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"{} {}"])
def test_read_json_names_the_file_it_cannot_read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path}: "):
        files.read_json(path)


def test_read_json_of_no_file_is_none(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "none") is None


def test_a_line_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, []

    def counted(descriptor: int, content: memoryview) -> int:
        calls.append(bytes(content))
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", counted)
    for line in ("first", "é" * 5000):
        files.append_line(path, line)
    assert calls == [b"first\n", "é".encode() * 5000 + b"\n"]
    assert path.read_bytes() == OLD + b"".join(calls)


def test_append_makes_the_file(tmp_path: Path) -> None:
    files.append_line(tmp_path / "new", json.dumps({"a": 1}))
    assert (tmp_path / "new").read_text() == '{"a": 1}\n'


def test_truncate_move_remove(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"in the way")
    files.truncate(path, 2)
    files.move(path, other)
    assert other.read_bytes() == OLD[:2] and not path.exists()
    files.remove(other)
    files.remove(other)
    assert not other.exists()


def test_sha256_of(path: Path) -> None:
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256_of(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_modes(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "file", NEW)
    files.append_line(tmp_path / "lines", "a")
    with files.lock(tmp_path / "lock"):
        pass
    modes = {p.name: oct(p.stat().st_mode & 0o7777) for p in tmp_path.iterdir()}
    assert modes == {"file": "0o644", "lines": "0o644", "lock": "0o600"}


HOLD = """
import sys
from pathlib import Path
from degradation.system import files as storage
with storage.lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
    Path(sys.argv[1] + ".done").touch()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
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


def test_a_lock_that_another_process_holds_names_it(
    held: tuple[Path, "subprocess.Popen[str]"],
) -> None:
    path, process = held
    wanted = rf"^{path.parent} is in use by pid {process.pid} on \S+ since \d{{4}}-"
    with pytest.raises(files.LockedError, match=wanted), files.lock(path):
        raise AssertionError("two hold it")
    assert files.is_locked(path)
    assert files.holder(path).startswith(f"pid {process.pid} on ")


def test_a_lock_is_free_at_once_when_its_holder_is_killed(
    held: tuple[Path, "subprocess.Popen[str]"],
) -> None:
    path, process = held
    process.kill()
    process.wait()
    assert not files.is_locked(path)
    with files.lock(path):
        assert files.holder(path).startswith(f"pid {os.getpid()} on ")


def test_a_lock_can_be_waited_for(held: tuple[Path, "subprocess.Popen[str]"]) -> None:
    path, process = held
    assert process.stdin is not None
    timer = threading.Timer(0.6, lambda: print(file=process.stdin, flush=True))
    timer.start()  # later than a lock that may not wait would give up
    with files.lock(path, wait=True):
        assert path.with_name("lock.done").exists()
    timer.join()


def test_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not files.is_locked(path)
    assert not path.exists()
    with files.lock(path):
        assert files.is_locked(path)
    assert not files.is_locked(path)


def test_a_lock_ends_with_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), files.lock(tmp_path / "lock"):
        raise KeyError
    assert not files.is_locked(tmp_path / "lock")


def test_a_look_at_the_lock_does_not_keep_anyone_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as `is_locked` does, for a moment
    timer = threading.Timer(0.02, os.close, [descriptor])
    timer.start()
    with files.lock(path):
        assert files.is_locked(path)
    timer.join()


def test_the_holder_of_a_new_lock_writes_over_a_longer_text(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("x" * 500)
    with files.lock(path):
        assert "x" * 10 not in files.holder(path)
    path.write_text("")
    assert files.holder(path) == "another process"


def test_what_the_disk_refuses_is_said_with_need_have_and_remedy(
    tmp_path: Path, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(files.StorageError) as refusal:
        files.write_atomically(tmp_path / "x", b"1" * 3_000_000)
    said = str(refusal.value)
    assert f"can't write {tmp_path / 'x'}: No space left on device" in said
    assert f"need 3.0 MB, {tmp_path} has " in said
    assert "machine.runs=OTHER" in said


def open_and_close(path: Path) -> None:
    with files.appending(path):
        pass


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda path: files.remove(path), "unlink"),
        (lambda path: files.clean(path.parent), "unlink"),
        (lambda path: files.truncate(path, 1), "ftruncate"),
        (lambda path: files.move(path, path.with_name("other")), "replace"),
        (open_and_close, "close"),
    ],
)
def test_every_refusal_is_of_one_kind(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], None], operation: str
) -> None:
    (path.parent / ".old.1.tmp").touch()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, refuse)
        with pytest.raises(files.StorageError, match="Input/output error"):
            call(path)


def test_a_file_that_cannot_be_read_back_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(files.StorageError, match="its folder is gone"):
        files.sha256_of(tmp_path / "gone" / "file")


def test_what_the_disk_gives_back_is_compared(path: Path) -> None:
    assert files.holds(path, OLD)
    assert not files.holds(path, NEW)
    with pytest.raises(files.StorageError):
        files.holds(path / "below", OLD)


@pytest.mark.parametrize("size", [0, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_what_is_longer_than_a_read_is_compared_to_its_last_byte(path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    assert files.holds(path, content) and files.holds(path, memoryview(content))
    assert not files.holds(path, content + b"x")
    if size:
        assert not files.holds(path, content[:-1])
        assert not files.holds(path, content[:-1] + bytes([content[-1] ^ 1]))


def test_a_lock_is_let_go_of_whatever_its_close_says(path: Path, monkeypatch) -> None:
    close = os.close

    def refuse(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", refuse)
        with files.lock(path):
            pass
    assert not files.is_locked(path)


def test_room_is_spoken_of_where_that_is_the_trouble(path: Path) -> None:
    said = str(files.StorageError(path, OSError(errno.EROFS, "Read-only file system"), 5_000_000))
    assert "need" not in said and "remount it" in said
    assert "need 2.0 kB, " in str(files.StorageError(path, OSError(errno.EDQUOT, "quota"), 2_000))


def test_a_file_where_a_folder_must_be_is_told(path: Path) -> None:
    for folder in (path, path / "below"):
        with pytest.raises(files.StorageError, match="is a file: move that away"):
            files.make_folder(folder)


def test_a_path_that_is_no_utf_8_can_be_told(path: Path) -> None:
    odd = os.fsdecode(b"a\xffb")
    files.append_line(path, odd)
    assert path.read_bytes() == OLD + b"a\\udcffb\n"
    files.write_json(path, {"path": odd})
    assert files.read_json(path) == {"path": odd}


def test_a_line_that_fits_in_part_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    path, write = tmp_path / "rows", os.write
    files.append_line(path, "first")

    def half(descriptor: int, content: bytes) -> int:
        if bytes(content) == b"cond\n":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(content)[:2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(files.StorageError, match="No space left"):
        files.append_line(path, "second")
    assert path.read_bytes() == b"first\n"


def test_a_link_in_a_files_place_is_refused(tmp_path: Path) -> None:
    treasure, link = tmp_path / "treasure", tmp_path / "link"
    treasure.write_text("mine")
    link.symlink_to(treasure)
    with pytest.raises(files.StorageError, match="symbolic link"):
        files.append_line(link, "x")
    with pytest.raises(files.StorageError, match="symbolic link"), files.lock(link):
        pass
    files.write_atomically(link, b"new")  # takes the name, not what the link leads to
    assert treasure.read_text() == "mine"


def test_room_is_asked_for_before_it_is_needed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "free", lambda folder: 5_000_000)
    files.check_room(tmp_path, 5_000_000)
    with pytest.raises(files.StorageError, match=r"need 6\.0 MB, .* has 5\.0 MB free"):
        files.check_room(tmp_path, 6_000_000)


def test_cleaning_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".config.json.123.tmp", "config.json", ".hidden", "x.tmp"):
        (tmp_path / name).touch()
    files.clean(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", ".hidden", "x.tmp"}
