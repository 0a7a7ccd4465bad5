"""SIGKILL: at chosen and at random moments, and before every storage operation of a save."""

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.training import checkpoint

from . import drawing, fork, operations, pair, powerloss
from .figure import Figure
from .moments import Moment, Watch, one_of, save_often, send

SECTION = "Kill"
IN_A_ROW = 5  # kills of one run, before it may finish
# Chosen moments, so that the wanted places are hit; all other kills come at random times.
CHOSEN = {"save": 25, "evaluation": 25, "row": 15}
NAMES = {
    "save": "a save",
    "evaluation": "an evaluation",
    "row": "a row's write",
    "step": "a training step",
    "start": "the start",
}
LEAST = {"save": 20, "evaluation": 20, "row": 10}


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Killed runs that go on to the same bytes; crash points of a save."""
    found = [*killed(full, folder / "kill", seed), *crash_points(full, folder / "crash")]
    return [*found, power_cuts(folder / "cut")]


def killed(full: bool, folder: Path, seed: int) -> list[Figure]:
    """200 kills (12 in the quick form), each followed by the same start again."""
    draw, count = random.Random(seed), 200 if full else 12
    chosen = CHOSEN if full else {"save": 2, "evaluation": 2, "row": 2}
    least = LEAST if full else {"save": 2, "evaluation": 2, "row": 2}
    plan: list[Moment | None] = [
        one_of([place], draw) for place, n in chosen.items() for _ in range(n)
    ]
    plan += [None] * (count - len(plan))
    draw.shuffle(plan)
    whole = [trained(folder / "whole", arm, full) for arm in pair.ARMS]
    seconds = max(s for _, s in whole)
    wanted = [pair.Ending.of(run) for run, _ in whole]
    figure = drawing.figure6(folder / "whole")
    hits, equal, drawn = Counter[str](), 0, 0
    rounds = 0
    while plan:
        runs = folder / f"round{rounds}"
        rounds += 1
        kills, same = 0, True
        for arm, ending in zip(pair.ARMS, wanted, strict=True):
            run = pair.made(runs, pair.config(arm, full=full))
            places = kill(run, plan, seconds, draw)
            end = fork.once(run, save_often)
            same &= end.status == 0 and pair.Ending.of(run) == ending
            hits.update(places)
            kills += len(places)
        same_figure = same and drawing.figure6(runs) == figure
        equal += kills if same else 0
        drawn += same_figure
        shutil.rmtree(runs)
    where = ", ".join(f"{hits[place]} in {NAMES[place]}" for place in NAMES if hits[place])
    enough = all(hits[place] >= n for place, n in least.items())
    total = hits.total()
    return [
        Figure(
            SECTION,
            "SIGKILLs that hit",
            _least(least, count),
            f"{total}: {where}",
            total >= count and enough,
        ),
        Figure(
            SECTION,
            "of them, the same start again ends with the same rows, weights, marks",
            f"{total} of {total}",
            f"{equal} of {total}",
            equal == total,
        ),
        Figure(
            SECTION,
            "pairs so treated whose Figure 6 (SVG and rows) is the same to the byte",
            f"{rounds} of {rounds}",
            f"{drawn} of {rounds}",
            drawn == rounds,
        ),
    ]


def kill(run: RunDir, plan: list[Moment | None], seconds: float, draw: random.Random) -> list[str]:
    """Kill what trains in `run` a few times, as `plan` says; the places that were hit.

    A kill whose moment did not come stays in the plan, nearer.
    """
    places: list[str] = []
    while plan and len(places) < IN_A_ROW and run.result() is None:
        moment, watch = plan.pop(), Watch()
        strike = [] if moment is None else [moment.strike]
        pid = fork.start(fork.body_of(run, save_often, watch.follow, *strike), fork.log_of(run))
        if moment is None:
            send(pid, signal.SIGKILL, draw.uniform(0, 0.6 * seconds))
        if fork.wait(pid) == -signal.SIGKILL:
            places.append(watch.place if moment is None else moment.place)
        else:
            plan.insert(0, moment and Moment(moment.place, 1, (moment.within + 1) // 2))
    return places


def trained(runs: Path, arm: str, full: bool) -> tuple[RunDir, float]:
    """The run, trained without interruption by the worker as it is; and the seconds it took."""
    config = pair.config(arm, full=full)
    fork.warm(config)
    run, began = pair.made(runs, config), time.monotonic()
    end = fork.once(run)
    assert end.status == 0, end.said
    return run, time.monotonic() - began


def crash_points(full: bool, folder: Path) -> list[Figure]:
    """SIGKILL before each operation of a save that is the first, the second, the third."""
    run, _ = trained(folder, "residual", full)
    content = checkpoint.newest(run.checkpoints)
    assert content is not None
    configs = missing = partial = 0
    for older in (0, 1, checkpoint.KEEP):
        k = 0
        while True:
            k += 1
            place = folder / f"saves{older}-{k}"
            files.make_folder(place)
            before = [checkpoint.save(place, i, content + bytes([i])) for i in range(older)]
            if not killed_before(k, place, content):
                break
            configs += 1
            found = checkpoint.newest(place)
            missing += found is None and older > 0
            partial += any(not whole(p) for p in checkpoint.saved(place))
            assert found in (None, content, *(p.read_bytes() for p in before if p.exists()))
            shutil.rmtree(place)
    return [
        Figure(
            SECTION,
            "SIGKILL before each storage operation of a save: none left, one in part",
            "0, 0",
            f"{missing}, {partial} at {configs} crash points",
            configs >= 20 and not missing and not partial,
        ),
    ]


def power_cuts(folder: Path) -> Figure:
    """S13: every state that a power cut in a save may leave, by the rules of `powerloss`."""
    content = random.Random(0).randbytes(50_000)
    counts = [
        powerloss.states(folder / str(older), content, older)
        for older in range(checkpoint.KEEP + 1)
    ]
    count, bad = (sum(column) for column in zip(*counts, strict=True))
    return Figure(
        SECTION,
        "a power cut in a save, replayed: unforced bytes and names may be lost",
        "none lost, none in part",
        f"{bad} bad of {count} states",
        not bad and count > 50,
    )


def killed_before(k: int, place: Path, content: bytes) -> bool:
    """Save in a child that is killed before its k-th operation; whether there was a k-th."""

    def save() -> None:
        operations.before(k, operations.kill)
        checkpoint.save(place, 9, content)

    return fork.child(save, place / "said").status == -signal.SIGKILL


def whole(path: Path) -> bool:
    """Whether a checkpoint is what its name says."""
    return files.sha256_of(path) in path.name


def _least(least: dict[str, int], count: int) -> str:
    places = ", ".join(f"{n} in {NAMES[place]}" for place, n in least.items())
    return f"at least {count}: {places}"
