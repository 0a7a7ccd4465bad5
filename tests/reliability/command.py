"""The command as people give it, and every process that comes of it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from degradation.system.paths import TOP

from . import fork

# A net of a moment in a run of many minutes; the caller says when that ends.
WORDS = (
    "data=digits",
    "depth=8",
    "model.width=4",
    "recipe.iterations=100000",
    "recipe.milestones=[]",
    "recipe.batch_size=32",
    "recipe.eval_every=10",
    "machine.device=cpu",
    "machine.wandb=disabled",
)


class Command:
    """`python -m degradation.run …` in a process group of its own, as a shell starts it."""

    def __init__(self, folder: Path, *words: str, **how: Any) -> None:
        self.mark = uuid.uuid4().hex
        self.said_to = folder / f"said-{self.mark[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        environment |= {"SOAK_MARK": self.mark, "HOME": str(folder / "home"), **how.pop("env", {})}
        environment["PYTHONPATH"] = os.pathsep.join(
            [p for p in (environment.get("PYTHONPATH"), str(TOP)) if p]
        )
        with self.said_to.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "degradation.run", *words],
                cwd=folder,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
                **{"stdout": said, "stderr": said, **how},
            )

    def signal(self, number: int, *, group: bool) -> None:
        """To the process alone, or to the whole group, as a terminal does."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def status(self, seconds: float = 60.0) -> int | None:
        """The exit status; None, and the end of all of it, after too long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    @property
    def said(self) -> str:
        return self.said_to.read_text(errors="replace")

    def family(self) -> list[int]:
        """The living processes that the command started, itself included."""
        mark, found = f"SOAK_MARK={self.mark}".encode(), []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    found += [int(folder.name)] if state != "Z" else []
            except OSError:
                continue
        return found

    def gone(self, seconds: float = 10.0) -> bool:
        """Whether all of its processes end in time; those that don't are killed."""
        fine = fork.until(lambda: not self.family(), seconds)
        self.end()
        return fine

    def end(self) -> None:
        """Kill what is left of it."""
        for pid in self.family():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def run(folder: Path, *words: str, **how: Any) -> Command:
    """The command, at its end."""
    command = Command(folder, *words, **how)
    command.status(600)
    return command


def wait_for(runs: Path, pattern: str, count: int = 1, seconds: float = 60.0) -> bool:
    """Whether there come to be `count` files of that pattern below `runs`, with something in."""

    def found() -> bool:
        return sum(p.stat().st_size > 0 for p in list(runs.glob(pattern))) >= count

    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
