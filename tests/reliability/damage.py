"""Checkpoints that were changed on the disk, and run folders that were."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.training import checkpoint
from degradation.training.loop import Saver
from degradation.training.worker import REFUSED, STORAGE

from .harness import moments
from .harness.child import End
from .harness.figure import Figure, of_trials
from .harness.training import Ending, config, made, resumed, train, undisturbed

PAGE = 4096


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Damage to the newer of two checkpoints, to both, and to what lies beside them."""
    return [
        *newest(full, folder / "newest", seed),
        beside(folder / "beside"),
        of_trials(
            "the folder removed while the run trains",
            "a clear end, nothing remade",
            [removed(folder / "removed")],
        ),
    ]


Damage = Callable[[bytes, random.Random], bytes]


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
        changed = content[:start] + bytes(PAGE) + content[start + PAGE :]
        if changed != content:
            return changed


KINDS: dict[str, tuple[Damage, int, int]] = {
    "bit flips": (flip, 1000, 10),
    "truncations": (truncate, 300, 5),
    "zeroed pages": (zero, 300, 5),
}
"""The damage, and how often: in full, and in the quick form."""


def newest(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Damage the newer of two checkpoints, then train to the end."""
    draw, (run, ending) = random.Random(seed), killed_near_the_end(folder, full)
    return [
        of_trials(
            f"{many if full else few:,} {kind} in the newer of two checkpoints",
            "0 loaded, all back to the older one, and the same end to the byte",
            [damaged(run, ending, damage, draw) for _ in range(many if full else few)],
        )
        for kind, (damage, many, few) in KINDS.items()
    ]


def damaged(run: RunDir, ending: Ending, damage: Damage, draw: random.Random) -> str:
    """What is wrong with how a copy of `run` goes on after such damage."""
    copy = RunDir(run.folder.parent / "damaged" / run.name)
    shutil.copytree(run.folder, copy.folder)
    older, newer = checkpoint.saved(copy.checkpoints)
    newer.write_bytes(damage(newer.read_bytes(), draw))
    is_back = checkpoint.newest(copy.checkpoints) == older.read_bytes()
    problem = resumed(copy, ending) if is_back else "it is not back to the older one"
    shutil.rmtree(copy.folder)
    return problem


def killed_near_the_end(folder: Path, full: bool) -> tuple[RunDir, Ending]:
    """A run with two checkpoints that was killed soon after; and how it ends undisturbed."""
    settings = config(full=full)
    ending = undisturbed(folder / "whole", settings)
    run, last = made(folder / "killed", settings), settings.recipe.iterations - 2

    def save_twice() -> None:
        Saver.is_due = lambda saver: saver.context.state.iteration in (last - 2, last)

    assert train(run, save_twice, moments.at_step(moments.kill, last + 2)).status < 0
    assert len(checkpoint.saved(run.checkpoints)) == 2
    return run, ending


def damage_every_checkpoint(run: RunDir) -> None:
    for path in checkpoint.saved(run.checkpoints):
        path.write_bytes(flip(path.read_bytes(), random.Random(0)))


def swap_checkpoints(run: RunDir) -> None:
    """Put in that of the other arm, whole and under its true name."""
    other = made(run.folder.parent / "other", config("plain"))
    assert train(other).status == 0
    content = checkpoint.newest(other.checkpoints)
    assert content is not None
    for path in checkpoint.saved(run.checkpoints):
        path.unlink()
    checkpoint.save(run.checkpoints, 99, content)


def repeat_a_line(run: RunDir) -> None:
    lines = run.curves.read_bytes().splitlines(keepends=True)
    run.curves.write_bytes(b"".join([lines[0], *lines]))


def leave_temporary_files(run: RunDir) -> None:
    for folder in (run.folder, run.checkpoints):
        (folder / ".config.json.1.tmp").write_bytes(b"x" * 1000)


def put_a_file_in_place_of_the_folder(run: RunDir) -> None:
    shutil.rmtree(run.checkpoints)
    run.checkpoints.write_bytes(b"")


Case = tuple[Callable[[RunDir], None], tuple[str, ...] | None]
CASES: dict[str, Case] = {
    "all checkpoints damaged": (
        damage_every_checkpoint,
        ("damaged, its SHA-256", "no checkpoint is whole", "remove"),
    ),
    "a checkpoint of another run": (
        swap_checkpoints,
        ("is a checkpoint of", "belongs elsewhere", "remove"),
    ),
    "curves.jsonl shorter than its checkpoint": (
        lambda run: files.truncate(run.curves, 0),
        ("0 rows, its checkpoint",),
    ),
    "a line of curves.jsonl twice": (repeat_a_line, ("curves.jsonl, line 2",)),
    "stale temporary files": (leave_temporary_files, None),
    "a file where the folder checkpoints/ was": (
        put_a_file_in_place_of_the_folder,
        ("checkpoints",),
    ),
}
"""What is done to the folder of a killed run; the words that its refusal must have, or None where
it must go on to the same end."""


def beside(folder: Path) -> Figure:
    """Each of CASES: a refusal that says what and what to do, and changes nothing; or a mend."""
    run, ending = killed_near_the_end(folder, full=False)
    return of_trials(
        "run folders changed by hand (" + "; ".join(CASES) + ")",
        "refused with file and remedy, nothing written; temporaries cleaned",
        [changed_by_hand(run, ending, *case) for case in CASES.values()],
    )


def changed_by_hand(
    run: RunDir,
    ending: Ending,
    change: Callable[[RunDir], None],
    words: tuple[str, ...] | None,
) -> str:
    """What is wrong with how a copy of `run` goes on after a change to its folder."""
    copy = RunDir(run.folder.parent / change.__name__ / run.name)
    shutil.copytree(run.folder, copy.folder)
    change(copy)
    before = contents(copy)
    if words is None:
        problem = resumed(copy, ending)
        left = [path.name for path in copy.folder.rglob(".*.tmp")]
        return problem or (f"{left} are left" if left else "")
    end = train(copy)
    end = End(end.status, f"{end.output} {copy.failure()}")
    status = STORAGE if end.status == STORAGE else REFUSED
    changed = "" if contents(copy) == before else f"{change.__name__}: something was written"
    return end.problem(status, *words) or changed


def contents(run: RunDir) -> dict[Path, bytes]:
    """The files that hold the run's work."""
    others = {run.failed_json, run.log, run.lock, run.launches_jsonl}
    return {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file() and p not in others}


def removed(folder: Path) -> str:
    """What is wrong after the folder was removed while the run trained."""
    run = made(folder, config())
    end = train(run, moments.at_step(lambda: shutil.rmtree(run.folder), 6))
    remade = "the folder is there again" if run.folder.exists() else ""
    return end.problem(STORAGE, "can't write") or remade
