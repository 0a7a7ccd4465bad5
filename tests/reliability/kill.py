"""SIGKILL: at chosen and at random moments, and before every storage operation of a save."""

import random
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from degradation.runs.run_dir import RunDir

from .harness import child, moments
from .harness.figure import Figure, of_trials
from .harness.training import ARMS, Change, config, log_of, made, resumed, training, undisturbed

IN_A_ROW = 5  # kills of one run, before it may finish
# How many kills of which moment.
FULL = {"a save": 25, "an evaluation": 25, "a row's write": 15, "random moments": 135}
QUICK = {"a save": 2, "an evaluation": 2, "a row's write": 2, "random moments": 6}


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Killed runs that go on to the same bytes; saves that were killed."""
    saves = (moments.disturbed_saves(folder / "saves", older, moments.kill) for older in range(3))
    return [
        *killed(full, folder, seed),
        of_trials(
            "SIGKILL before each storage operation of a save",
            "no older checkpoint lost, none in part",
            [trial for trials in saves for trial in trials],
        ),
    ]


def killed(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Kill pairs of runs a few times each, and start them again."""
    draw, kills = random.Random(seed), FULL if full else QUICK
    plan = list(Counter(kills).elements())
    draw.shuffle(plan)
    began = time.monotonic()
    endings = {arm: undisturbed(folder / "whole", config(arm, full=full)) for arm in ARMS}
    seconds = (time.monotonic() - began) / len(ARMS)
    figure, ends, drawn = figure6(folder / "whole"), [], []
    while plan and not any(ends):
        runs = folder / str(len(drawn))
        for arm, ending in endings.items():
            run = made(runs, config(arm, full=full))
            kill(run, plan, seconds, draw)
            ends.append(resumed(run, ending, moments.save_often))
        drawn.append("" if figure6(runs) == figure else f"another figure of {runs}")
        shutil.rmtree(runs)
    many = ", ".join(f"{number} in {moment}" for moment, number in kills.items())
    pairs = "pairs so treated whose Figure 6 (SVG and rows) is the same to the byte"
    return [
        of_trials(f"runs SIGKILLed, in all {many}; then the same start", "the same end", ends),
        of_trials(pairs, "all", drawn),
    ]


def kill(run: RunDir, plan: list[str], seconds: float, draw: random.Random) -> None:
    """SIGKILL what trains in `run` up to IN_A_ROW times, at the next moments of `plan`.

    A moment that did not come stays in the plan.
    """
    for _ in range(IN_A_ROW):
        if not plan or run.result() is not None:
            return
        moment = plan.pop()
        changes = (moments.save_often, change(moment, seconds, draw))
        if child.wait(child.start(training(run, *changes), log_of(run))) != -signal.SIGKILL:
            plan.insert(0, moment)


def change(moment: str, seconds: float, draw: random.Random) -> Change:
    """Lets a child be killed at such a moment."""
    if moment == "a save":
        return moments.at_save(moments.kill, draw.randint(1, 4), draw.randint(1, 9))
    if moment == "an evaluation":
        return moments.at_evaluation(moments.kill, draw.randint(1, 6))
    if moment == "a row's write":
        return moments.at_row(moments.kill, draw.randint(1, 2), draw.randint(0, 150))
    return threading.Timer(draw.uniform(0, 0.6 * seconds), moments.kill).start


def figure6(runs: Path) -> tuple[str, bytes]:
    """The rows it shows, less what names the folder; and the SVG."""
    from analysis import plot_curves
    from analysis.frames import runs as frames
    from analysis.plots import output
    from analysis.plots.style import PAPER

    (study,) = frames.studies(runs)
    drawing = plot_curves.FIGURES["figure6"]
    content = output.figure_bytes(drawing.draw(study, PAPER), "svg", salt="reliability")
    return drawing.rows(study).drop(columns="folder").to_csv(index=False), content
