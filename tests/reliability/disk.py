"""A disk that refuses: at every operation, full, read-only, limited, another user's, slow."""

import ctypes
import errno
import json
import mmap
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from degradation.runs.run_dir import RunDir, whole_lines
from degradation.system import files
from degradation.system.paths import TOP
from degradation.training import checkpoint
from degradation.training.worker import STORAGE

from . import fork, operations, pair
from .figure import Figure
from .moments import Moment, save_often

SECTION = "Disk"


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """By substitution at every operation; then by what kernels have: limits, tmpfs, ptrace."""
    folder.chmod(0o755)  # another user must get as far as the run
    config = pair.config(full=False)
    fork.warm(config)
    whole = pair.made(folder / "whole", config)
    assert fork.once(whole).status == 0
    ending = pair.Ending.of(whole)
    assert ending is not None
    return [
        every_operation_of_a_save(folder / "save", ending),
        *every_operation_of_a_run(full, folder / "run", ending),
        limited(folder / "limited", ending),
        slow(folder / "slow", ending),
        *on_a_file_system_of_its_own(folder / "tmpfs", ending),
        another_users(folder / "user", ending),
        *traced(full, folder / "traced", ending),
    ]


def every_operation_of_a_save(folder: Path, ending: pair.Ending) -> Figure:
    """Each refusal before each operation; two older checkpoints are there."""
    refused = trials = 0
    wrong = []
    content = (folder.parent / "whole").glob("*/checkpoints/*").__next__().read_bytes()
    for name, number in operations.REFUSALS.items():
        for k in range(1, 100):
            place = folder / f"{name}-{k}"
            files.make_folder(place)
            older = [checkpoint.save(place, i, content + bytes([i])) for i in (1, 2)]
            said = ""
            with operations.acting(k, operations.refuse(number)) as counter:
                try:
                    checkpoint.save(place, 3, content)
                except files.StorageError as error:
                    said = str(error)
            if len(counter.names) < k:
                break
            trials += 1
            refused += bool(said)
            new = len(checkpoint.saved(place)) == 3 or not said
            kept = all(p.exists() for p in older) or new
            fine = kept and checkpoint.newest(place) in (content, older[-1].read_bytes())
            if name == "ENOSPC" and said and counter.names[k - 1] == "write":
                fine &= f"need {files.megabytes(len(content))}, {place} has " in said
            left = [p for p in place.iterdir() if p.name.startswith(".")]
            if not fine or (left and counter.names[k - 1] != "unlink"):
                wrong.append(f"{name} before {k} ({counter.names[k - 1]}): {said}")
            shutil.rmtree(place)
    got = "; ".join(wrong) or f"none lost in {trials} refusals, {refused} of them an error"
    names = ", ".join(operations.REFUSALS)
    return Figure(
        SECTION,
        f"{names} at every operation of a save",
        "the older two stay and load",
        got,
        not wrong and trials > 30,
    )


def every_operation_of_a_run(full: bool, folder: Path, ending: pair.Ending) -> list[Figure]:
    """One refusal before the k-th operation of a whole run; then the same start again."""
    config, found = pair.config(full=False), []
    for name, number in (("ENOSPC", errno.ENOSPC), ("EIO", errno.EIO)):
        trials = stopped = 0
        wrong = []
        for k in range(1, 2000) if full else range(5, 2000, 13):  # the fifth reads
            run, reached = pair.made(folder / f"{name}-{k}", config), mmap.mmap(-1, 1)

            def act(number: int = number, reached: mmap.mmap = reached) -> None:
                reached[0] = 1
                operations.refuse(number)()

            end = fork.once(run, save_often, lambda k=k, act=act: operations.before(k, act))
            if not reached[0]:
                break
            trials += 1
            stopped += end.status == STORAGE
            lines = [line + "\n" for line in whole_lines(run.curves)]
            fine = end.status in (0, STORAGE) and "Traceback" not in end.said
            fine &= end.status == 0 or "can't write" in end.said or "can't read" in end.said
            fine &= ending.curves.startswith("".join(lines).encode())
            again = fork.once(run)
            fine &= again.status == 0 and pair.Ending.of(run) == ending
            if not fine:
                wrong.append(f"{k}: {end.status}, {again.status}: {end.said[-300:]}")
            shutil.rmtree(run.folder.parent)
        got = "; ".join(wrong[:5]) or (
            f"{trials} of {trials}, {stopped} stopped with status 5, {trials - stopped} went on"
        )
        which = "every operation" if full else "every 13th operation"
        found.append(
            Figure(
                SECTION,
                f"{name} once at {which} of a whole run",
                "status 5 and the cause, nothing lost; then the same end",
                got,
                not wrong and trials > 5,
            )
        )
    return found


def then(run: RunDir, ending: pair.Ending, end: fork.End, *words: str) -> tuple[bool, str]:
    """Whether a run stopped with status 5 and `words`, and the same start now ends as it should."""
    ok = end.status == STORAGE and all(word in end.said for word in words)
    ok &= "Traceback" not in end.said
    again = fork.once(run)
    ok &= again.status == 0 and pair.Ending.of(run) == ending
    message = end.said.strip().splitlines()[-1] if end.said.strip() else ""
    return ok, "so" if ok else f"{end.status}, then {again.status}: {message[-300:]}"


def limited(folder: Path, ending: pair.Ending) -> Figure:
    """T4: the kernel lets no file be larger than 8 kB, from the middle on."""
    run = pair.made(folder, pair.config(full=False))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731
    end = fork.once(run, save_often, lambda: Moment("step", 5, 1).strike(limit))
    ok, got = then(run, ending, end, "need ", " free", "ulimit -f")
    return Figure(
        SECTION,
        "files of at most 8 kB (RLIMIT_FSIZE)",
        "status 5, need, have, remedy; then the same end",
        got,
        ok,
    )


def slow(folder: Path, ending: pair.Ending) -> Figure:
    """Every fsync takes a third of a second; saving is by the product's own rule."""
    run, real, calls = pair.made(folder, pair.config(full=False)), os.fsync, mmap.mmap(-1, 1)

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        time.sleep(0.3)
        real(descriptor)

    def sluggish() -> None:
        os.fsync = fsync

    began = time.monotonic()
    end = fork.once(run, sluggish)
    ok = end.status == 0 and pair.Ending.of(run) == ending
    got = f"the same end, {calls[0]} fsyncs, {time.monotonic() - began:.1f} s"
    return Figure(
        SECTION,
        "a disk that needs 0.3 s for every fsync",
        "the same end",
        got if ok else f"{end.status}: {end.said[-300:]}",
        ok,
    )


def another_users(folder: Path, ending: pair.Ending) -> Figure:
    """T6: the run belongs to root, and whoever trains isn't."""
    what = "a folder of another user's, as a plain user"
    if os.getuid():
        return Figure(SECTION, what, "status 5", "skipped: needs root to drop", True)
    run = pair.made(folder, pair.config(full=False))
    end = fork.once(run, lambda: os.setuid(65534))
    ok, got = then(run, ending, end, "Permission denied")
    return Figure(SECTION, what, "status 5, remedy; then, as its owner, the same end", got, ok)


MS_RDONLY, MS_REMOUNT, MS_PRIVATE, MS_REC = 1, 32, 1 << 18, 1 << 14
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000


def mount(place: Path, options: str, flags: int = 0) -> None:
    """A tmpfs at `place`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (b"tmpfs", str(place).encode(), b"tmpfs", flags, options.encode())
    if libc.mount(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def apart() -> None:
    """T5: give this process mounts of its own. Raises OSError where that isn't allowed."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    libc.mount(None, b"/", None, MS_PRIVATE | MS_REC, None)


def on_a_file_system_of_its_own(folder: Path, ending: pair.Ending) -> list[Figure]:
    """A small tmpfs that really is full, and that really is read-only."""
    files.make_folder(folder)
    result = folder.with_name("tmpfs.json")
    trials: dict[str, Callable[[Path, pair.Ending], tuple[bool, str]]] = {
        "a full disk (tmpfs)": full_disk,
        "a read-only disk (tmpfs)": read_only_disk,
    }

    def body() -> None:
        try:
            apart()
            mount(folder, "size=4m")
        except OSError as error:
            result.write_text(json.dumps(dict.fromkeys(trials, (True, f"skipped: {error}"))))
            return
        found = {name: trial(folder, ending) for name, trial in trials.items()}
        result.write_text(json.dumps(found))

    end = fork.child(body, folder.with_name("tmpfs.said"))
    if not result.exists():
        return [Figure(SECTION, "a tmpfs", "a result", end.said[-500:], False)]
    return [
        Figure(SECTION, name, "status 5, the cause, what helps; then the same end", got, ok)
        for name, (ok, got) in json.loads(result.read_text()).items()
    ]


def full_disk(folder: Path, ending: pair.Ending) -> tuple[bool, str]:
    """Full from the fifth step on."""
    run, filler = pair.made(folder / "full", pair.config(full=False)), folder / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    strike = lambda: Moment("step", 5, 1).strike(fill)  # noqa: E731
    end = fork.once(run, save_often, strike, log=folder.with_name("full.said"))
    filler.unlink()
    ok, got = then(run, ending, end, "No space left", "need ", " free", "free some space")
    if ok:
        got = next(line for line in end.said.splitlines() if "need " in line)
        got = "need " + got.partition("need ")[2].partition(".safe")[0]
    return ok, got


def read_only_disk(folder: Path, ending: pair.Ending) -> tuple[bool, str]:
    """Read-only when a killed run is to go on."""
    run = pair.made(folder / "fixed", pair.config(full=False))
    fork.once(run, save_often, Moment("step", 8, 1).strike)
    mount(folder, "", MS_REMOUNT | MS_RDONLY)
    end = fork.once(run, log=folder.with_name("fixed.said"))
    mount(folder, "", MS_REMOUNT)
    return then(run, ending, end, "Read-only file system", "remount it")


TRACES = {
    "EIO for the first fsync": ("inject=fsync:error=EIO:when=1", "Input/output error"),
    "EIO for the second": ("inject=fsync:error=EIO:when=2", "Input/output error"),
    "ENOSPC for the first fsync": ("inject=fsync:error=ENOSPC:when=1", "No space left on device"),
    "EACCES for the first rename": (
        "inject=rename,renameat,renameat2:error=EACCES:when=1",
        "Permission denied",
    ),
    "EROFS for every fsync": ("inject=fsync:error=EROFS", "Read-only file system"),
}


def traced(full: bool, folder: Path, ending: pair.Ending) -> list[Figure]:
    """T3: the unmodified process, its system calls refused by strace."""
    if not full:
        return []
    what = "by strace, on the process as it is: " + "; ".join(TRACES)
    if shutil.which("strace") is None:
        return [Figure(SECTION, what, "status 5", "skipped: no strace", True)]
    wrong = []
    for number, (name, (inject, word)) in enumerate(TRACES.items()):
        run = pair.made(folder / str(number), pair.config(full=False))
        words = [
            sys.executable,
            "-m",
            "degradation.training.worker",
            str(run.folder),
            json.dumps(asdict(pair.machine(run.folder.parent))),
        ]
        calls = inject.removeprefix("inject=").partition(":")[0]
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "PYTHONPATH": str(TOP),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run([*trace, *words], capture_output=True, text=True, env=environment)
        if "PTRACE" in done.stderr or "ptrace" in done.stderr:
            return [Figure(SECTION, what, "status 5", f"skipped: {done.stderr[:200]}", True)]
        ok, got = then(run, ending, fork.End(done.returncode, done.stderr), word)
        if not ok:
            wrong.append(f"{name}: {got}")
    return [
        Figure(
            SECTION,
            what,
            "status 5 and the cause; then the same end",
            "; ".join(wrong) or f"{len(TRACES)} of {len(TRACES)}",
            not wrong,
        )
    ]
