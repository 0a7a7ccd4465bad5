"""Checkpoints that were changed on the disk, and run folders that were."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.training import checkpoint
from degradation.training.loop import Saver
from degradation.training.worker import REFUSED

from . import fork, operations, pair
from .figure import Figure
from .moments import Moment

SECTION = "Damage"
PAGE = 4096


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Damage to the newest of two checkpoints, to both, and to what lies beside them."""
    return [*newest(full, folder / "newest", seed), *beside(full, folder / "beside")]


def flip(content: bytes, draw: random.Random) -> bytes:
    """One bit is another."""
    at = draw.randrange(8 * len(content))
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def truncate(content: bytes, draw: random.Random) -> bytes:
    """The end is missing."""
    return content[: draw.randrange(len(content))]


def zero(content: bytes, draw: random.Random) -> bytes:
    """A page of the disk holds nothing."""
    while True:  # a page that held nothing before is no damage
        start = PAGE * draw.randrange(len(content) // PAGE)
        if changed := content[start : start + PAGE].strip(b"\0"):
            return content[:start] + bytes(PAGE) + content[start + PAGE :]
        del changed


Damage = Callable[[bytes, random.Random], bytes]
KINDS: dict[str, tuple[Damage, int, int]] = {
    "bit flips": (flip, 1000, 10),
    "truncations": (truncate, 300, 5),
    "zeroed pages": (zero, 300, 5),
}


def newest(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Damage the newer of two checkpoints, then give the same command again: to the end."""
    draw, found = random.Random(seed), []
    run, ending = killed_near_the_end(folder, full)
    older, newer = checkpoint.saved(run.checkpoints)
    content, before = newer.read_bytes(), older.read_bytes()
    copy = RunDir(folder / "damaged" / run.name)
    for kind, (damage, many, few) in KINDS.items():
        count, tally = many if full else few, Counter[str]()
        for _ in range(count):
            shutil.copytree(run.folder, copy.folder)
            changed = damage(content, draw)
            assert changed != content
            (copy.checkpoints / newer.name).write_bytes(changed)
            loaded = checkpoint.newest(copy.checkpoints)
            tally["loaded"] += loaded == changed
            tally["back"] += loaded == before
            tally["equal"] += fork.once(copy).status == 0 and pair.Ending.of(copy) == ending
            shutil.rmtree(copy.folder)
        got = (
            f"{tally['loaded']} loaded, {tally['back']:,} back to exactly the older one, "
            f"{tally['equal']:,} trained on to the same end"
        )
        ok = not tally["loaded"] and tally["back"] == tally["equal"] == count
        what = f"{count:,} {kind} in the newer of two checkpoints"
        wanted = "0 loaded, all back to the older one, and the same end to the byte"
        found.append(Figure(SECTION, what, wanted, got, ok))
    return found


def killed_near_the_end(folder: Path, full: bool) -> tuple[RunDir, pair.Ending]:
    """A run with two checkpoints that was killed soon after; and how it ends undisturbed."""
    config = pair.config(full=full)
    fork.warm(config)
    whole = pair.made(folder / "whole", config)
    assert fork.once(whole).status == 0
    ending = pair.Ending.of(whole)
    assert ending is not None
    run = pair.made(folder / "killed", config)
    last = config.recipe.iterations - 2

    def save_twice() -> None:
        def is_due(saver: Saver) -> bool:
            return saver.context.state.iteration in (last - 2, last)

        Saver.is_due = is_due  # type: ignore[method-assign]

    strike = Moment("step", last + 2, 1).strike
    assert fork.once(run, save_twice, strike).status < 0
    assert len(checkpoint.saved(run.checkpoints)) == 2
    return run, ending


Case = Callable[[RunDir], None]
"""What is done to the folder of a run that was killed."""


def every_checkpoint(run: RunDir) -> None:
    for path in checkpoint.saved(run.checkpoints):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def another_points(run: RunDir) -> None:
    """S12: checkpoints of the other arm, whole and under true names."""
    other = pair.made(run.folder.parent / "other", pair.config("plain", full=False))
    assert fork.once(other).status == 0
    for path in checkpoint.saved(run.checkpoints):
        path.unlink()
    content = checkpoint.newest(other.checkpoints)
    assert content is not None
    checkpoint.save(run.checkpoints, 99, content)


def shorter_curves(run: RunDir) -> None:
    """S15."""
    files.truncate(run.curves, 0)


def longer_curves(run: RunDir) -> None:
    """S16: the first line twice."""
    lines = run.curves.read_bytes().splitlines(keepends=True)
    run.curves.write_bytes(b"".join([lines[0], *lines]))


def stale_temporaries(run: RunDir) -> None:
    """S14."""
    for folder in (run.folder, run.checkpoints):
        (folder / ".config.json.1.tmp").write_bytes(b"x" * 1000)


def a_file_for_a_folder(run: RunDir) -> None:
    """S7."""
    shutil.rmtree(run.checkpoints)
    run.checkpoints.write_bytes(b"")


# What is done; the words that the refusal must have, or None where it must go on to the same end.
CASES: dict[str, tuple[Case, tuple[str, ...] | None]] = {
    "all checkpoints damaged": (
        every_checkpoint,
        ("damaged, its SHA-256", "no checkpoint is whole", "remove"),
    ),
    "a checkpoint of another run": (
        another_points,
        ("is a checkpoint of", "belongs elsewhere", "remove"),
    ),
    "curves.jsonl shorter than its checkpoint": (shorter_curves, ("0 rows, its checkpoint",)),
    "a line of curves.jsonl twice": (longer_curves, ("curves.jsonl, line 2",)),
    "stale temporary files": (stale_temporaries, None),
    "a file where the folder checkpoints/ was": (a_file_for_a_folder, ("checkpoints",)),
}


def beside(full: bool, folder: Path) -> list[Figure]:
    """Each of CASES: a refusal that says what and what to do, and changes nothing; or a mend."""
    wrong, refused = [], 0
    run, ending = killed_near_the_end(folder, full=False)
    for number, (name, (change, words)) in enumerate(CASES.items()):
        copy = RunDir(folder / str(number) / run.name)
        shutil.copytree(run.folder, copy.folder)
        change(copy)
        before = contents(copy)
        end = fork.once(copy)
        said = end.said + str((copy.failure() or {}).get("message"))
        if words is None:
            fine = end.status == 0 and pair.Ending.of(copy) == ending
            fine &= not list(copy.folder.rglob(".*.tmp"))
        else:
            fine = end.status in (REFUSED, 5) and all(word in said for word in words)
            fine &= "Traceback" not in end.said and contents(copy) == before
            refused += fine
        if not fine:
            wrong.append(f"{name} ({end.status}: {said.strip()[-300:]})")
    found = [
        Figure(
            SECTION,
            "run folders changed by hand (" + "; ".join(CASES) + ")",
            "refused with file and remedy, nothing written; temporaries cleaned",
            "; ".join(wrong) or f"{refused} refused, {len(CASES) - refused} went on, none else",
            not wrong,
        ),
    ]
    return [
        *found,
        removed(folder / "removed"),
        few_descriptors(folder / "few", ending),
        *odd_paths(folder / "odd", ending),
    ]


def contents(run: RunDir) -> dict[str, bytes]:
    """The files that hold the run's work, by name."""
    kept = [p for p in run.folder.rglob("*") if p.is_file()]
    skip = {"failed.json", "worker.log", "lock", "launches.jsonl"}
    return {str(p.relative_to(run.folder)): p.read_bytes() for p in kept if p.name not in skip}


def removed(folder: Path) -> Figure:
    """S20: the folder is removed while the run trains."""
    run = pair.made(folder, pair.config(full=False))
    end = fork.once(run, lambda: Moment("step", 6, 1).strike(lambda: shutil.rmtree(run.folder)))
    ok = end.status == 5 and "can't write" in end.said and "Traceback" not in end.said
    ok &= not run.folder.exists()
    got = "a clear end, nothing remade" if ok else f"{end.status}: {end.said[-300:]}"
    return Figure(
        SECTION, "the folder removed while the run trains", "a clear end, nothing remade", got, ok
    )


def few_descriptors(folder: Path, ending: pair.Ending) -> Figure:
    """S18: no file can be opened any more, from the middle on."""
    import resource

    run = pair.made(folder, pair.config(full=False))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 100))

    end = fork.once(run, lambda: Moment("step", 6, 1).strike(limit))
    ok = end.status == 5 and "Too many open files" in end.said and "Traceback" not in end.said
    again = fork.once(run)
    ok &= again.status == 0 and pair.Ending.of(run) == ending
    got = "said, then the same end" if ok else f"{end.status}: {end.said[-300:]}; {again.status}"
    return Figure(SECTION, "no file descriptors left", "said; then the same end", got, ok)


PATHS = {
    "spaces and quotes": "a b'c\"d $(e)",
    "other scripts": "größe-日本-🙂",
    "700 characters": "/".join(["x" * 174] * 4),
}


def odd_paths(folder: Path, ending: pair.Ending) -> list[Figure]:
    """S19: names of folders that work, or are refused by name."""
    wrong = []
    for name, path in PATHS.items():
        run = pair.made(folder / path, pair.config(full=False))
        log = folder / "said"
        end = fork.child(fork.body_of(run), log)
        if end.status or pair.Ending.of(run) != ending:
            wrong.append(f"{name}: {end.status}: {end.said[-300:]}")
        torn = pair.made(folder / path / "torn", pair.config(full=False))
        strike = Moment("step", 6, 1).strike
        refused = fork.child(fork.body_of(torn, lambda s=strike: s(operations.refuse(28))), log)
        if refused.status != 1 or "OSError" not in str((torn.failure() or {}).get("message")):
            wrong.append(f"{name}, failing: {refused.status}: {refused.said[-300:]}")
    try:
        pair.made(folder / ("y" * 300), pair.config(full=False))
        wrong.append("a name of 300 characters was taken")
    except files.StorageError as error:
        if "File name too long" not in str(error):
            wrong.append(str(error))
    got = "; ".join(wrong) or "each works; 300 characters are refused by name"
    return [
        Figure(
            SECTION,
            f"folders with {', '.join(PATHS)}; a name of 300 characters",
            "each works, or is refused by name",
            got,
            not wrong,
        )
    ]
