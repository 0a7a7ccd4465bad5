"""A disk that refuses: at every operation, by a limit, and because it is full."""

import ctypes
import errno
import os
import resource
import shutil
from functools import partial
from pathlib import Path

from degradation.runs.run_dir import whole_lines
from degradation.training.worker import STORAGE

from .harness import child, moments
from .harness.figure import Figure, of_trials
from .harness.moments import at_step, save_often
from .harness.training import Ending, config, made, resumed, train, undisturbed

REFUSALS = {errno.errorcode[n]: n for n in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)}


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """By substitution at every operation; then by what kernels have: a limit, a tmpfs."""
    ending = undisturbed(folder / "whole", config())
    saves = [
        trial
        for name, number in REFUSALS.items()
        for trial in moments.disturbed_saves(folder / name, 2, moments.refuse(number))
    ]
    return [
        of_trials(
            f"{', '.join(REFUSALS)} at every operation of a save",
            "the older two stay and load",
            saves,
        ),
        *(every_operation(full, folder / "run", ending, name) for name in ("ENOSPC", "EIO")),
        of_trials(
            "files of at most 8 kB (RLIMIT_FSIZE)",
            "status 5, need, have, remedy; then the same end",
            [limited(folder / "limited", ending)],
        ),
        full_disk(folder / "tmpfs", ending),
    ]


def every_operation(full: bool, folder: Path, ending: Ending, name: str) -> Figure:
    """One refusal before the k-th operation of a whole run; then the same start again."""
    trials, stopped = [], 0
    for k in range(1, 2000) if full else range(5, 2000, 13):  # the fifth reads
        run = made(folder / f"{name}-{k}", config())
        act = moments.refuse(REFUSALS[name])
        end = train(run, save_often, partial(moments.before_operation, k, act))
        if "refused" not in end.output:
            break
        stopped += end.status == STORAGE
        problem = end.problem(STORAGE, "can't ") if end.status else end.problem(0)
        lines = [line + "\n" for line in whole_lines(run.curves)]
        if not ending.curves.startswith("".join(lines).encode()):
            problem += "; other rows"
        problem = problem or resumed(run, ending)
        trials.append(problem and f"before operation {k}: {problem}")
        shutil.rmtree(run.folder.parent)
    which = "every operation" if full else "every 13th operation"
    return of_trials(
        f"{name} once at {which} of a whole run",
        "status 5 and the cause, nothing lost; then the same end",
        trials,
        f", {stopped} stopped with status 5, {len(trials) - stopped} went on",
    )


def limited(folder: Path, ending: Ending) -> str:
    """What is wrong where the kernel lets no file be larger than 8 kB, from the middle on."""
    run = made(folder, config())
    limit = at_step(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)), 5)
    end = train(run, save_often, limit)
    return end.problem(STORAGE, "need ", " free", "ulimit -f") or resumed(run, ending)


def full_disk(folder: Path, ending: Ending) -> Figure:
    """A small tmpfs that really is full, from the middle of a run on."""
    folder.mkdir()

    def body() -> None:
        try:
            mount(folder)
        except OSError as error:
            print(f"skipped: {error}")
        else:
            print(on_a_full_disk(folder, ending) or "as wanted")

    end = child.run(body, folder.with_name("mount.log"))
    found = end.output.strip()
    wanted = "status 5, the cause, what helps; then the same end"
    fine = found == "as wanted" or found.startswith("skipped")
    return Figure("a full disk (tmpfs)", wanted, found, fine)


def mount(folder: Path) -> None:
    """Mount a tmpfs that this process alone sees. Raises OSError where that isn't allowed."""
    new_mounts, new_user, private, recursive = 0x20000, 0x10000000, 1 << 18, 1 << 14
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()

    def check(status: int) -> None:
        if status:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    check(libc.unshare(new_mounts | (new_user if user else 0)))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    check(libc.mount(None, b"/", None, private | recursive, None))
    check(libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=4m"))


def on_a_full_disk(folder: Path, ending: Ending) -> str:
    """What is wrong where the disk is full from the fifth step on."""
    run, filler = made(folder, config()), folder / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    end = train(run, save_often, at_step(fill, 5))
    filler.unlink()
    words = ("No space left", "need ", " free", "free some space")
    return end.problem(STORAGE, *words) or resumed(run, ending)
