"""Being asked to stop, wherever the process is: saved, the right status, at once, nobody left."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from degradation.data import sources
from degradation.runs.run_dir import RunDir
from degradation.training import checkpoint
from degradation.training.devices import engine
from degradation.training.loop import Saver
from tests.conftest import wait_until

from .harness import child, moments
from .harness.command import Command
from .harness.figure import Figure, of_trials, problems
from .harness.moments import Act
from .harness.training import (
    ARMS,
    Change,
    Ending,
    config,
    log_of,
    made,
    resumed,
    train,
    training,
    undisturbed,
)

SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
# A run of many minutes, which the signal ends.
LONG = (
    "recipe.iterations=100000",
    "recipe.milestones=[]",
    "recipe.batch_size=32",
    "recipe.eval_every=10",
)
JOBLIB = ("-m", "model=plain,residual", "cluster=joblib")


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Each signal at each place; then from outside, by the command."""
    return [
        everywhere(full, folder / "everywhere"),
        again(folder / "again"),
        from_outside(full, folder / "outside"),
        starting(full, folder / "starting"),
        orphaned(folder / "orphaned"),
        unread(full, folder / "unread"),
    ]


def at_reading(act: Act) -> Change:
    """In the middle of reading the data, which goes on for long."""

    def act_and_wait() -> None:
        act()
        time.sleep(20)

    return lambda: moments.before_call(sources, "load", 1, act_and_wait)


PLACES: dict[str, Callable[[Act], Change]] = {
    "reading the data": at_reading,
    "the first step": partial(moments.at_step, nth=1),
    "training": partial(moments.at_step, nth=7),
    "evaluation": partial(moments.at_evaluation, nth=2),
    "a save": partial(moments.at_save, nth=2, operation=4),
}


def everywhere(full: bool, folder: Path) -> Figure:
    """Every signal at every place; full, on either arm."""
    trials, slowest = [], 0.0
    for arm in ARMS if full else ("residual",):
        settings = config(arm, full=full)
        ending = undisturbed(folder / f"{arm}-whole", settings)
        for place in PLACES:
            for name in SIGNALS:
                runs = folder / f"{arm}-{place}-{name}"
                problem, seconds = signalled(made(runs, settings), ending, place, SIGNALS[name])
                trials.append(f"{runs.name}: {problem}" if problem else "")
                slowest = max(slowest, seconds)
    return of_trials(
        f"{', '.join(SIGNALS)} in each of: {', '.join(PLACES)}",
        "saved, 143 / 130 / 129, at most one batch and one save begun, then the same end",
        trials,
        f"; the slowest left {slowest:.2f} s after it",
    )


def signalled(run: RunDir, ending: Ending, place: str, number: int) -> tuple[str, float]:
    """What was wrong, and the seconds from the signal to the end of the process."""

    def send() -> None:
        print("SIGNALLED", time.monotonic())
        os.kill(os.getpid(), number)

    end = train(run, moments.save_often, print_what_begins, PLACES[place](send))
    _, _, printed = end.output.partition("SIGNALLED ")
    seconds = time.monotonic() - float((printed or "nan").split()[0])
    wrong = {
        f"left {seconds:.1f} s after it": not seconds < 5,
        f"began after it: {printed}": any(printed.count(f"begins {n}") > 1 for _, n in BEGINNINGS),
        "not saved": not checkpoint.saved(run.checkpoints) and place != "reading the data",
    }
    return end.problem(128 + number) or problems(wrong) or resumed(run, ending), seconds


BEGINNINGS = ((engine, "train_step"), (Saver, "stop_if_asked"), (checkpoint, "save"))


def print_what_begins() -> None:
    """In a child: a line for each step, evaluated batch and save."""
    for owner, name in BEGINNINGS:
        moments.before_each_call(owner, name, partial(print, "begins", name))


def again(folder: Path) -> Figure:
    """Asked a second time while a save hangs."""
    settings = config()
    ending, run = undisturbed(folder / "whole", settings), made(folder / "hangs", settings)

    def hang() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        (run.folder / "saving").touch()
        time.sleep(30)

    pid = child.start(training(run, moments.save_often, PLACES["a save"](hang)), log_of(run))
    wait_until((run.folder / "saving").exists)
    time.sleep(1.2)  # sooner it would be an echo of the first
    began = time.monotonic()
    os.kill(pid, signal.SIGINT)
    status = child.wait(pid)
    seconds = time.monotonic() - began
    kept = len(checkpoint.saved(run.checkpoints))
    fine = status == 130 and seconds < 0.5 and kept == 1
    problem = "" if fine else f"status {status} after {seconds:.3f} s, {kept} kept"
    what = "a second signal while a save hangs"
    wanted = "leaves at once, the older checkpoint is whole"
    return of_trials(what, wanted, [problem or resumed(run, ending)], f", after {seconds:.3f} s")


def from_outside(full: bool, folder: Path) -> Figure:
    """The command, asked by process and by terminal, alone and with runs side by side."""
    cases: dict[str, tuple[int, bool, tuple[str, ...]]] = {
        "SIGINT to the group, joblib": (signal.SIGINT, True, JOBLIB),
        "SIGTERM to the process, joblib": (signal.SIGTERM, False, JOBLIB),
        "SIGINT to the group": (signal.SIGINT, True, ()),
        "SIGTERM to the process": (signal.SIGTERM, False, ()),
        "SIGHUP to the group": (signal.SIGHUP, True, ()),
    }
    trials, names = [], list(cases) if full else list(cases)[:1]
    for name in names:
        number, group, words = cases[name]
        command, runs = Command(folder / name, *LONG, *words), 2 if words else 1
        command.wait_for("*/curves.jsonl", runs)
        command.signal(number, group=group)
        trials.append(stopped(command, number, runs))
    what = "the command, while it trains: " + "; ".join(names)
    wanted = "status, one line with the command to go on with, saved, no process left"
    return of_trials(what, wanted, trials)


def stopped(command: Command, number: int, count: int) -> str:
    """What is wrong with how a command ended that was signalled, with `count` runs to save."""
    status = command.status()
    printed, saved = command.printed, saved_runs(command)
    wrong = {
        f"status {status}": status != 128 + number,
        "a traceback": "Traceback" in printed or "KeyboardInterrupt" in printed,
        f"{printed.count('stopped;')} lines": printed.count("stopped;") != 1,
        "no command": "python -m degradation.run" not in printed,
        f"{saved} saved": saved < count,
        "processes left": not command.is_gone(),
    }
    found = problems(wrong)
    return found and f"{command.folder.name}: {found}: {printed[-800:]}"


def saved_runs(command: Command) -> int:
    """How many of its runs have a checkpoint."""
    return sum(bool(checkpoint.saved(f)) for f in command.folder.glob("runs/*/checkpoints"))


def starting(full: bool, folder: Path) -> Figure:
    """Ctrl-C from the moment the command listens until its runs train, alone and by joblib."""
    delays, trials = [0.0, 0.2, 0.5, 0.8, 1.1, 1.5, 2.0, 2.6] if full else [0.3], []
    for words, sign in (((), "*/lock"), (JOBLIB, ".hydra")):
        for delay in delays:
            at = folder / f"{sign.strip('*/.')} and {delay} s"
            command = Command(at, *LONG, *words)
            command.wait_for(sign)
            time.sleep(delay)
            command.signal(signal.SIGINT, group=True)
            trials.append(stopped(command, signal.SIGINT, 0))
            shutil.rmtree(at, ignore_errors=True)
    return of_trials(
        "Ctrl-C while the runs' processes start, one by one and by joblib",
        "130, one line, no traceback, no process left",
        trials,
    )


def orphaned(folder: Path) -> Figure:
    """The command itself is SIGKILLed, with two runs side by side."""
    command = Command(folder, *LONG, *JOBLIB)
    command.wait_for("*/curves.jsonl", 2)
    command.signal(signal.SIGKILL, group=False)
    command.process.wait()
    wrong = {"processes left": not command.is_gone(20), "not saved": saved_runs(command) != 2}
    what = "the command SIGKILLed, two runs by joblib"
    return of_trials(what, "2 saved, no process left", [problems(wrong)])


def unread(full: bool, folder: Path) -> Figure:
    """Nobody reads what it prints, or the disk behind it is full."""
    outputs = {
        "the bar, into a pipe that is closed": ("machine.progress=bar",),
        "lines, into a pipe that is closed": (),
        "/dev/full": (),
    }
    trials, names = [], list(outputs) if full else list(outputs)[:1]
    for number, name in enumerate(names):
        reader, writer = os.pipe()
        if name == "/dev/full":
            os.close(writer)
            writer = os.open(name, os.O_WRONLY)
        words = ("recipe.iterations=60", "recipe.milestones=[]", "recipe.eval_every=10")
        command = Command(folder / str(number), *words, *outputs[name], output=writer)
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        is_done = command.status() == 0 and any(command.folder.glob("runs/*/done.json"))
        trials.append("" if is_done else f"{name}: status {command.status()}")
    what = "output that nobody reads: " + ", ".join(names)
    return of_trials(what, "trained to the end, status 0", trials)
