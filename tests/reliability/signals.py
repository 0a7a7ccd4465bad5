"""Being asked to stop, wherever the process is: saved, the right status, at once, nobody left."""

import mmap
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from degradation.data import sources
from degradation.training import checkpoint
from degradation.training.devices import engine

from . import command, fork, pair
from .command import Command
from .figure import Figure
from .moments import SIGNALS, Moment, save_often

SECTION = "Signals"


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Each signal at each place; then from outside, by the command."""
    return [
        *everywhere(full, folder / "everywhere"),
        again(folder / "again"),
        stopped_and_continued(folder / "stop"),
        *from_outside(full, folder / "outside"),
    ]


class Since:
    """Shared with a child: when it was signalled, and what it began after that."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 8 + 3)

    def signal(self, number: int) -> None:
        """In the child: be signalled, and look at the clock."""
        self.memory[:8] = struct.pack("d", time.monotonic())
        os.kill(os.getpid(), number)

    @property
    def at(self) -> float:
        return float(struct.unpack("d", self.memory[:8])[0])

    @property
    def began(self) -> tuple[int, int, int]:
        """Training steps, evaluation batches, saves."""
        return self.memory[8], self.memory[9], self.memory[10]

    def count(self) -> None:
        """In the child: count what begins after the signal."""
        for index, owner, name in ((8, engine, "train_step"), (10, checkpoint, "save")):
            setattr(owner, name, self._counted(getattr(owner, name), index))
        calling = engine._calling

        def counted(between: Callable[[], object], batches: Iterable[Any]) -> Iterable[Any]:
            for batch in calling(between, batches):
                self.memory[9] += self.at > 0
                yield batch

        engine._calling = counted

    def _counted(self, real: Callable[..., object], index: int) -> Callable[..., object]:
        def counted(*args: object) -> object:
            self.memory[index] += self.at > 0
            return real(*args)

        return counted


def reading(act: Callable[[], None]) -> None:
    """In a child: act in the middle of reading the data, which goes on for long."""
    real = sources.load

    def load(data: object) -> object:
        act()
        time.sleep(20)
        return real(data)  # type: ignore[arg-type]

    sources.load = load  # type: ignore[assignment]


PLACES: dict[str, Callable[[Callable[[], None]], None]] = {
    "reading the data": reading,
    "the first step": Moment("step", 1, 1).strike,
    "training": Moment("step", 7, 1).strike,
    "evaluation": Moment("evaluation", 2, 2).strike,
    "a save": Moment("save", 2, 4).strike,
}


def everywhere(full: bool, folder: Path) -> list[Figure]:
    """Every signal at every place; full, on either arm."""
    wrong, worst, trials = [], 0.0, 0
    for arm in pair.ARMS if full else ("residual",):
        config = pair.config(arm, full=full)
        fork.warm(config)
        whole = pair.made(folder / "whole", config)
        assert fork.once(whole).status == 0
        ending = pair.Ending.of(whole)
        for place, at in PLACES.items():
            for name, number in SIGNALS.items():
                trials += 1
                run, since = pair.made(folder / f"{arm}-{place}-{name}", config), Since()
                strike = lambda at=at, s=since, n=number: at(lambda: s.signal(n))  # noqa: E731
                end = fork.once(run, save_often, since.count, strike)
                seconds = time.monotonic() - since.at
                worst = max(worst, seconds)
                fine = end.status == 128 + number and "Traceback" not in end.said
                steps, batches, saves = since.began
                fine &= steps <= 1 and batches <= 1 and saves <= 1 and seconds < 5
                fine &= bool(checkpoint.saved(run.checkpoints)) == (place != "reading the data")
                again = fork.once(run)
                fine &= again.status == 0 and pair.Ending.of(run) == ending
                if not fine:
                    wrong.append(
                        f"{place}, {name}: {end.status}, began {since.began} {end.said[-200:]}"
                    )
                shutil.rmtree(run.folder.parent)
    got = "; ".join(wrong) or f"{trials} of {trials}; the slowest left {worst:.2f} s after it"
    wanted = "saved, 143 / 130 / 129, at most one batch and one save begun, then the same end"
    return [
        Figure(
            SECTION, f"{', '.join(SIGNALS)} in each of: {', '.join(PLACES)}", wanted, got, not wrong
        )
    ]


def again(folder: Path) -> Figure:
    """P6: asked a second time while a save hangs."""
    run = pair.made(folder, pair.config(full=False))
    fork.warm(run.config())

    def hang() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        (run.folder / "saving").touch()
        time.sleep(30)

    strike = Moment("save", 2, 5).strike
    pid = fork.start(fork.body_of(run, save_often, lambda: strike(hang)), fork.log_of(run))
    fork.until((run.folder / "saving").exists)
    time.sleep(1.2)  # sooner it would be an echo of the first
    began = time.monotonic()
    os.kill(pid, signal.SIGINT)
    status = fork.wait(pid)
    seconds = time.monotonic() - began
    kept = len(checkpoint.saved(run.checkpoints))
    end = fork.once(run)
    ok = status == 130 and seconds < 0.5 and kept == 1 and end.status == 0
    return Figure(
        SECTION,
        "a second signal while a save hangs",
        "leaves at once, the older checkpoint is whole",
        f"status {status} after {seconds:.3f} s, {kept} kept, then status {end.status}",
        ok,
    )


def stopped_and_continued(folder: Path) -> Figure:
    """P17: SIGSTOP, and SIGCONT later."""
    config = pair.config(full=False)
    fork.warm(config)
    whole, run = (pair.made(folder / name, config) for name in ("whole", "stopped"))
    assert fork.once(whole).status == 0
    strike = Moment("step", 5, 1).strike
    stop = lambda: os.kill(os.getpid(), signal.SIGSTOP)  # noqa: E731
    pid = fork.start(fork.body_of(run, lambda: strike(stop)), fork.log_of(run))
    os.waitpid(pid, os.WUNTRACED)
    time.sleep(2)
    os.kill(pid, signal.SIGCONT)
    status = fork.wait(pid)
    ok = status == 0 and pair.Ending.of(run) == pair.Ending.of(whole)
    return Figure(
        SECTION,
        "SIGSTOP, two seconds, SIGCONT",
        "the same end",
        "the same end" if ok else f"status {status}",
        ok,
    )


JOBLIB = ("-m", "model=plain,residual", "cluster=joblib")


def from_outside(full: bool, folder: Path) -> list[Figure]:
    """The command, asked by process and by terminal, alone and with points side by side."""
    cases: dict[str, tuple[int, bool, tuple[str, ...]]] = {
        "SIGINT to the group": (signal.SIGINT, True, ()),
        "SIGTERM to the process": (signal.SIGTERM, False, ()),
        "SIGHUP to the group": (signal.SIGHUP, True, ()),
        "SIGINT to the group, joblib": (signal.SIGINT, True, JOBLIB),
        "SIGTERM to the process, joblib": (signal.SIGTERM, False, JOBLIB),
    }
    wrong = []
    for number, (name, (what, group, words)) in enumerate(cases.items()):
        at = folder / str(number)
        asked = Command(at, *words, *command.WORDS)
        runs = 2 if words else 1
        command.wait_for(at / "runs", "*/curves.jsonl", runs)
        asked.signal(what, group=group)
        if reason := left(asked, what, at / "runs", runs):
            wrong.append(f"{name}: {reason}")
    found = [
        Figure(
            SECTION,
            "the command, while it trains: " + "; ".join(cases),
            "status, one line with the command to go on with, saved, no process left",
            "; ".join(wrong) or f"{len(cases)} of {len(cases)}",
            not wrong,
        ),
    ]
    return [
        *found,
        starting(full, folder / "starting"),
        orphaned(folder / "orphaned"),
        *unread(full, folder / "unread"),
    ]


def left(asked: Command, number: int, runs: Path, count: int) -> str:
    """What is wrong with how a command left that was signalled; nothing, mostly."""
    status = asked.status()
    said = asked.said
    saved = sum(bool(checkpoint.saved(p / "checkpoints")) for p in runs.glob("*-*-*"))
    wrong = [
        what
        for what, is_so in {
            f"status {status}": status != 128 + number,
            "a traceback": "Traceback" in said or "KeyboardInterrupt" in said,
            f"{said.count('stopped;')} lines": said.count("stopped;") != 1,
            "no command": "python -m degradation.run" not in said,
            f"{saved} saved": saved < count,
            "processes left": not asked.gone(),
        }.items()
        if is_so
    ]
    return ", ".join(wrong) + (f": {said[-800:]}" if wrong else "")


def starting(full: bool, folder: Path) -> Figure:
    """Ctrl-C from the moment the command listens until its points train, alone and by joblib."""
    wrong, trials = [], 0
    delays = [0.0, 0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 2.6] if full else [0.3]
    for words, sign in (((), "*/lock"), (JOBLIB, ".hydra")):
        for delay in delays:
            trials += 1
            at = folder / str(trials)
            asked = Command(at, *words, *command.WORDS)
            fork.until(lambda at=at, sign=sign: bool(list((at / "runs").glob(sign))), 30)
            time.sleep(delay)
            asked.signal(signal.SIGINT, group=True)
            if reason := left(asked, signal.SIGINT, at / "runs", 0):
                wrong.append(f"{delay} s, {' '.join(words)}: {reason}")
            shutil.rmtree(at, ignore_errors=True)
    return Figure(
        SECTION,
        "Ctrl-C while the points' processes start, one by one and by joblib",
        "130, one line, no traceback, no process left",
        "; ".join(wrong) or f"{trials} of {trials}",
        not wrong,
    )


def orphaned(folder: Path) -> Figure:
    """The command itself is SIGKILLed, with two points side by side."""
    asked = Command(folder, *JOBLIB, *command.WORDS)
    command.wait_for(folder / "runs", "*/curves.jsonl", 2)
    asked.signal(signal.SIGKILL, group=False)
    asked.process.wait()
    began = time.monotonic()
    gone = fork.until(lambda: not asked.family(), 20)
    seconds = time.monotonic() - began
    names = [Path(f"/proc/{p}/cmdline").read_bytes() for p in asked.family()]
    asked.end()
    saved = [r for r in (folder / "runs").glob("*-*-*") if checkpoint.saved(r / "checkpoints")]
    ok = gone and len(saved) == 2
    got = f"{len(saved)} saved, all gone after {seconds:.1f} s" if ok else f"left: {names}"
    return Figure(
        SECTION, "the command SIGKILLed, two points by joblib", "2 saved, no process left", got, ok
    )


SHORT = ("recipe.iterations=60", "recipe.eval_every=10")


def unread(full: bool, folder: Path) -> list[Figure]:
    """P8: nobody reads what it says, or the disk behind it is full."""
    pipes = {"the bar, into a pipe that is closed": ("machine.progress=bar",)}
    if full:
        pipes["lines, into a pipe that is closed"] = ()
    got = []
    for name, words in pipes.items():
        at = folder / name.partition(",")[0]
        reader, writer = os.pipe()
        asked = Command(at, *command.WORDS, *SHORT, *words, stdout=writer, stderr=writer)
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        got.append((name, asked.status(), done(at)))
    if full:
        with Path("/dev/full").open("wb") as device:
            out = {"stdout": device, "stderr": device}
            asked = Command(folder / "full", *command.WORDS, *SHORT, **out)
        got.append(("/dev/full", asked.status(), done(folder / "full")))
    wrong = [f"{name}: status {status}" for name, status, fine in got if status or not fine]
    what = "output that nobody reads: " + ", ".join(name for name, _, _ in got)
    found = "; ".join(wrong) or f"{len(got)} of {len(got)}"
    return [Figure(SECTION, what, "trained to the end, status 0", found, not wrong)]


def done(folder: Path) -> bool:
    """Whether the one run below `folder` has its result."""
    return any((folder / "runs").glob("*/done.json"))
