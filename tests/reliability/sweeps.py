"""A sweep of which a quarter dies, and a sweep that is itself killed again and again."""

import random
import signal
import time
from pathlib import Path

from degradation.config import compose
from degradation.runs.run_dir import runs_in

from .harness.command import SMALL, Command
from .harness.deaths import DEATHS
from .harness.figure import Figure, of_trials
from .harness.training import Ending, undisturbed

WORDS = (
    "-m",
    "model=plain,residual",
    "recipe.iterations=12",
    "recipe.milestones=[6]",
    "recipe.batch_size=16",
    "recipe.eval_every=4",
    "machine.threads=1",
    "machine.progress=none",
)


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """24 runs of which 6 die (8 in the quick form), and 50 kills (3) of such a sweep."""
    words = (*WORDS, "seed=" + ",".join(str(n) for n in range(12 if full else 4)))
    settings = compose.runs_of((*SMALL, *words))
    wanted = {s.config.name: undisturbed(folder / "alone", s.config) for s in settings}
    found = dying(folder / "dying", words, wanted)
    if not full:  # two runs are enough to be killed
        words = (*WORDS, "seed=0")
        wanted = {name: ending for name, ending in wanted.items() if "-s0-" in name}
    return [found, killed(full, folder / "killed", words, wanted, seed)]


def endings(command: Command) -> dict[str, Ending | None]:
    """How each of its runs ended."""
    return {run.name: Ending.of(run) for run in runs_in(command.folder / "runs")}


def dying(folder: Path, words: tuple[str, ...], wanted: dict[str, Ending]) -> Figure:
    """Six of the runs die; then the same command without deaths."""
    command = Command(folder, *words, dying=True)
    status, printed, first = command.status(900), command.printed, endings(command)
    fine = {name for name, ending in first.items() if ending and ending == wanted[name]}
    before = launches(folder, fine)
    again = Command(folder, *words)
    status_again, last = again.status(900), endings(again)
    ended = sum(last.get(name) == ending for name, ending in wanted.items())
    untouched = len(launches(folder, fine).items() & before.items())
    alive, names = len(wanted) - len(DEATHS), named(printed)
    found = (
        f"{len(fine)} finish, {names} named with their cause, status {status}; then status "
        f"{status_again}, {untouched} of {alive} untouched, {ended} as undisturbed"
    )
    fine_first = (status, names, len(fine)) == (1, len(DEATHS), alive)
    # The network that diverged has its result.
    fine_again = (status_again, untouched, ended) == (0, alive, len(wanted) - 1)
    deaths = "exception, sys.exit(0), SIGKILL, SIGSEGV, out of memory, divergence"
    return Figure(
        f"{len(wanted)} runs of which six die by {deaths}",
        f"{alive} finish, 6 named, status 1; the same command trains only what is missing",
        found if fine_first and fine_again else f"{found}: {printed[-1500:]}",
        fine_first and fine_again,
    )


def launches(folder: Path, names: set[str]) -> dict[str, bytes]:
    """What the processes that trained these runs noted in their folders."""
    runs = runs_in(folder / "runs")
    return {run.name: run.launches_jsonl.read_bytes() for run in runs if run.name in names}


def named(printed: str) -> int:
    """How many of DEATHS a command has named, each with its cause."""
    lines = [x for x in printed.splitlines() if x.startswith(("failed: ", "diverged: "))]
    return sum(
        any(f"digits-{arm}-8-s{seed}-" in line and word in line for line in lines)
        for (arm, seed), (_, word) in DEATHS.items()
    )


def killed(
    full: bool, folder: Path, words: tuple[str, ...], wanted: dict[str, Ending], seed: int
) -> Figure:
    """SIGKILL the sweep, alone and with its runs, at random moments; the same command each time.

    A sweep that came to its end is compared, and the next one begins.
    """
    draw, kills, trials = random.Random(seed), 50 if full else 3, []
    while kills:
        at, problem = folder / str(len(trials)), ""
        while kills:
            command = Command(at, *words)
            time.sleep(draw.uniform(2, 12 if full else 6))
            if command.process.poll() is not None:
                break
            kills -= 1
            command.signal(signal.SIGKILL, group=False)
            if draw.random() < 0.5:
                command.end()
            problem += "" if command.is_gone(20) else "processes were left; "
        last = Command(at, *words)
        is_same = last.status(900) == 0 and endings(last) == wanted
        trials.append(problem or ("" if is_same else last.printed[-500:]))
    return of_trials(
        f"the sweep SIGKILLed at {50 if full else 3} random moments, alone or with its runs; then "
        "the same command",
        "the same ends of every run",
        trials,
        " sweeps the same to the byte",
    )
