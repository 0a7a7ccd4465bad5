"""`python -m degradation.run …` as people give it, and every process that comes of it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from degradation.system.paths import TOP

DYING = Path(__file__).parent / "dying"
SMALL = ("data=digits", "depth=8", "model.width=4", "machine.device=cpu", "machine.wandb=disabled")


class Command:
    """The command, in a process group of its own, as a shell starts it."""

    def __init__(
        self, folder: Path, *words: str, output: int | None = None, dying: bool = False
    ) -> None:
        """It prints to the descriptor `output`; without one to a file, for `printed`. `dying`: some
        runs die (see `deaths`)."""
        name, value = "RELIABILITY", uuid.uuid4().hex
        self.mark, self.folder, self.log = f"{name}={value}", folder, folder / "log"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
        path = f"{DYING}{os.pathsep}{TOP}" if dying else str(TOP)
        environment |= {name: value, "HOME": str(folder / "home"), "PYTHONPATH": path}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "degradation.run", *SMALL, *words],
                cwd=folder,
                env=environment,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )

    def signal(self, number: int, *, group: bool) -> None:
        """To the process alone, or to the whole group, as a terminal does."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Until there are `count` such files below its runs, or it has ended, or hangs."""
        end = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < end:
            if len([*self.folder.glob(f"runs/{pattern}")]) >= count:
                return
            time.sleep(0.02)

    def status(self, seconds: float = 60.0) -> int | None:
        """The exit status; None, and the end of all of it, after too long."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            return None

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Those alive that the command started, and itself."""
        mark, found = self.mark.encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    found += [int(folder.name)] if state != "Z" else []
            except OSError:
                continue
        return found

    def is_gone(self, seconds: float = 10.0) -> bool:
        """Whether all of its processes end in time; those that don't are killed."""
        end = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        self.end()
        return not left

    def end(self) -> None:
        """Kill what is left of it."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
