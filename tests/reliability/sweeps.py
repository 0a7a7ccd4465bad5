"""A sweep of which a quarter dies, and a sweep that is itself killed again and again."""

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from degradation.commands import train
from degradation.config import compose
from degradation.launch import process
from degradation.runs.run_dir import runs_in
from degradation.training import worker

from . import command, deaths, fork, pair
from .figure import Figure

SECTION = "Sweeps"
WORDS = (
    "-m",
    "model=plain,residual",
    "data=digits",
    "depth=8",
    "model.width=4",
    "recipe.iterations=12",
    "recipe.milestones=[6]",
    "recipe.batch_size=16",
    "recipe.eval_every=4",
    "machine.device=cpu",
    "machine.threads=1",
    "machine.wandb=disabled",
    "machine.progress=none",
)


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """24 points of which 6 die (8 in the quick form), and 50 kills (3) of such a sweep."""
    words = (*WORDS, "seed=" + ",".join(str(n) for n in range(12 if full else 4)))
    fork.warm(pair.config(full=False))
    wanted = alone(folder / "alone", words)
    found = [dying(folder / "dying", words, wanted, sweep, "forked")]
    if full:
        found.append(dying(folder / "real", words, wanted, real, "the command as it is"))
    if not full:  # two points are enough to be killed
        words, wanted = (*WORDS, "seed=0"), {k: v for k, v in wanted.items() if "-s0-" in k}
    return [*found, *killed(full, folder / "killed", words, wanted, seed)]


def alone(folder: Path, words: tuple[str, ...]) -> dict[str, pair.Ending | None]:
    """How each run ends that is trained by itself, undisturbed."""
    for settings in compose.runs_of(words):
        assert fork.once(pair.made(folder / "runs", settings.config)).status == 0
    return endings(folder)


def endings(folder: Path) -> dict[str, pair.Ending | None]:
    """How each run ended."""
    return {r.name: pair.Ending.of(r) for r in runs_in(folder / "runs")}


class Forked:
    """What `launch` needs of a process: a forked child in the worker's place."""

    def __init__(self, words: list[str], *, env: Any, start_new_session: bool) -> None:
        self.returncode: int | None = None
        self.pid = fork.start(lambda: self._body(words), Path("said"), session=start_new_session)

    def _body(self, words: list[str]) -> int:
        if os.environ.get("SOAK_DYING"):
            deaths.await_death(Path(words[-2]).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return worker.main(words[-2:])

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = fork.ended(self.pid)
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked child", timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def body_of(folder: Path, words: tuple[str, ...], dying: bool) -> Callable[[], int]:
    """The body of a child that is `degradation.run`, and starts its points by forking."""

    def body() -> int:
        fork.find_done()
        os.chdir(folder)
        os.environ["SOAK_DYING"] = "1" if dying else ""
        process.subprocess.Popen = Forked  # type: ignore[misc, assignment]
        process.POLL = 0.01
        sys.argv = ["run", *words]
        train.cli()
        return 0

    return body


def sweep(folder: Path, words: tuple[str, ...], dying: bool = False) -> tuple[int, str]:
    """Status and words of a sweep, at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    end = fork.child(body_of(folder, words, dying), folder / "said")
    return end.status, end.said


def real(folder: Path, words: tuple[str, ...], dying: bool = False) -> tuple[int, str]:
    """The same by the command, each run's process in its own Python."""
    env = {"PYTHONPATH": str(Path(__file__).parent / "dying")} if dying else {}
    done = command.run(folder, *words, env=env)
    return done.status() or 0, done.said


Sweep = Callable[..., tuple[int, str]]


def dying(
    folder: Path,
    words: tuple[str, ...],
    wanted: dict[str, pair.Ending | None],
    sweep: Sweep,
    how: str,
) -> Figure:
    """Six of the points die; then the same command without deaths."""
    status, said = sweep(folder, words, dying=True)
    first = endings(folder)
    lines = [line for line in said.splitlines() if line.startswith(("failed: ", "diverged: "))]
    named = sum(
        any(f"digits-{arm}-8-s{seed}-" in line and word in line for line in lines)
        for (arm, seed), (_, word) in deaths.DEATHS.items()
    )
    fine = {name for name, ending in first.items() if ending and ending == wanted[name]}
    before = {
        r.name: r.launches_jsonl.read_bytes() for r in runs_in(folder / "runs") if r.name in fine
    }
    again, _ = sweep(folder, words)
    last = endings(folder)
    kept = sum(
        r.launches_jsonl.read_bytes() == before.get(r.name) for r in runs_in(folder / "runs")
    )
    ended = sum(last[name] == wanted[name] for name in wanted)
    count, alive = len(wanted), len(wanted) - len(deaths.DEATHS)
    ok = (status, named, len(fine), again) == (1, len(deaths.DEATHS), alive, 0)
    ok &= kept == alive and ended == count - 1  # a net that diverged has its result
    got = (
        f"{len(fine)} finish, {named} named with their cause, status {status}; then status "
        f"{again}, {kept} of {alive} untouched, {ended} as undisturbed"
    )
    if not ok:
        got += f": {said[-1500:]}"
    return Figure(
        SECTION,
        f"{count} points of which six die by exception, sys.exit(0), SIGKILL, SIGSEGV, "
        f"out of memory, divergence ({how})",
        f"{alive} finish, 6 named, status 1; the same command trains only what is missing",
        got,
        ok,
    )


def killed(
    full: bool,
    folder: Path,
    words: tuple[str, ...],
    wanted: dict[str, pair.Ending | None],
    seed: int,
) -> list[Figure]:
    """SIGKILL the sweep, alone and with its run, at random moments; the same command each time.

    A sweep that came to its end is compared, and the next one begins.
    """
    draw, kills, rounds, equal = random.Random(seed), 50 if full else 3, 0, 0
    done = single = 0
    while done < kills:
        at = folder / str(rounds)
        rounds += 1
        at.mkdir(parents=True)
        while done < kills:
            pid = fork.start(body_of(at, words, False), at / "said")
            time.sleep(draw.uniform(0.2, 4 if full else 1.5))
            only = draw.random() < 0.5
            children = points_of(pid)
            os.kill(pid, signal.SIGKILL)
            for child in [] if only else children:
                os.kill(child, signal.SIGKILL)
            if fork.wait(pid) != -signal.SIGKILL:
                break
            done += 1
            single += only
            fork.until(lambda c=children: not any(alive(p) for p in c), 20)
        status, said = sweep(at, words)
        equal += status == 0 and endings(at) == wanted
        if status:
            (folder / "wrong").write_text(said)
        shutil.rmtree(at)
    return [
        Figure(
            SECTION,
            f"the sweep SIGKILLed at random moments, {single} times alone, {done - single} with "
            "its run; then the same command",
            "the same ends of every run",
            f"{done} kills, {equal} of {rounds} sweeps the same to the byte",
            equal == rounds,
        )
    ]


def points_of(pid: int) -> list[int]:
    """The children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(p) for p in task.read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
