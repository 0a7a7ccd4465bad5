"""The process that mirrors a study's rows while it trains; training never waits for it.

    python -m degradation.tracking.follow    started by a `Feed`, which tells it on its standard input

It takes what training leaves of the processor (nice 19), may hang, die or find no server, and is
asked for nothing: what it doesn't get done is on the disk, and `degradation sync` does
it. It ends by itself soon after the process that started it, however that one ended.
"""

import itertools
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import console, files
from degradation.tracking import board, sync, wandb_api
from degradation.tracking.sync import Mirror

log = logging.getLogger("degradation")

POLL = 0.5  # seconds between two looks at the rows
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0  # after a server's first, and a later failure
LINGER = 15.0  # seconds for what is left, once nothing more will come
MOMENT = 8.0  # seconds that a study waits in the end

REFUSED = ("W&B refuses (%s): the rows go to %s/wandb, and `degradation sync` sends "
           "them later")  # fmt: skip
OUT_OF_REACH = ("W&B is out of reach (%s): trying again; nothing is lost, and `python -m "
                "degradation.tracking.sync %s` sends what is left in the end")  # fmt: skip
ABSENT = "%s; nothing is lost, and `degradation sync` sends it later"


class Feed:
    """The end that training holds: it tells what to follow, and forgets it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.told: dict[str, list[dict[str, Any]]] = {}
        """By run, what was said of it: a process that is started anew hears it again."""

    def begin(self, run: RunDir, settings: Settings) -> None:
        """Follow a run's rows from now on. Never raises, never waits."""
        machine = settings.machine
        if machine.wandb == "disabled" and not machine.tensorboard:
            return
        try:
            if machine.wandb != "disabled":
                sync.note(run, settings)
        except (OSError, ValueError) as error:
            log.warning("%s: its rows won't be mirrored now (%s)", run.name, error)
            return
        self.look()
        self._start()
        self._tell(run, {"run": str(run.folder), "tensorboard": machine.tensorboard})

    def look(self) -> None:
        """Start the process anew, if it has died; what it is to do, it hears again."""
        if self.process is not None and self.process.poll() is not None:
            self._start()
            for line in itertools.chain.from_iterable(self.told.values()):
                self._say(line)

    def _start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        self._close()
        try:
            self.process = subprocess.Popen(
                command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            log.warning("no process for the mirror (%s)", error)
            return
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)

    def end(self, run: RunDir) -> None:
        """No more rows of this run will come from here."""
        if str(run.folder) in self.told:
            self._tell(run, {"ended": str(run.folder)})

    def leave(self, runs: Sequence[RunDir]) -> list[str]:
        """Give the rest a moment; the names of the runs that W&B still lacks something of."""
        self._close()
        until = time.monotonic() + MOMENT
        while (behind := sync.lacking(runs)) and time.monotonic() < until and self._busy(runs):
            time.sleep(0.1)
        if self.process is not None and self.process.poll() is None:
            self.process.kill()  # wandb's own process ends when it notices
            self.process.wait()
        self.process = None
        return behind

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()

    def _busy(self, runs: Sequence[RunDir]) -> bool:
        """Whether our process, or one of a parallel launcher's, is at work."""
        if self.process is not None:
            return self.process.poll() is None
        return any(files.is_locked(run.wandb_lock) for run in runs)

    def _tell(self, run: RunDir, what: dict[str, Any]) -> None:
        self.told.setdefault(str(run.folder), []).append(what)
        self._say(what)

    def _say(self, what: dict[str, Any]) -> None:
        if self.process is None or self.process.stdin is None:
            return
        line = json.dumps(what).encode() + b"\n"
        with suppress(OSError, ValueError):  # it has died, or doesn't listen: so be it
            os.write(self.process.stdin.fileno(), line)  # a short line goes whole, or not at all


def command() -> list[str]:
    """What starts the process."""
    return [sys.executable, "-m", "degradation.tracking.follow"]


class Follower:
    """What the process itself does: one run after the other, in the order they came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.pending: dict[str, Mirror] = {}
        self.ended: set[str] = set()
        self.boards: dict[str, board.Board] = {}
        self.pause, self.retry_at = FIRST_PAUSE, 0.0
        self.refused = False
        """Whether the server has said that it won't have us: then rows go to folders."""
        self.absent = False
        """Whether wandb can't be imported."""

    def hear(self, told: dict[str, Any]) -> None:
        if "ended" in told:
            self.ended.add(told["ended"])
            return
        name = told["run"]
        self.ended.discard(name)
        run = RunDir(Path(name))
        if told["tensorboard"] and (made := board.begin(run)):
            self.boards[name] = made
        found = Mirror(run)
        if found.wanted and not self.absent:
            self.pending[name] = found

    def work(self) -> None:
        """One look at everything there is to send. Never raises."""
        for name in list(self.boards):
            self._draw(name)
        for name in list(self.pending):
            if self.clock() < self.retry_at:
                return
            self._advance(name)

    @property
    def idle(self) -> bool:
        return not self.pending and not self.boards

    def _draw(self, name: str) -> None:
        try:
            self.boards[name].push()
            if name in self.ended:
                self.boards.pop(name).close()
        except Exception as error:
            log.warning("%s: no TensorBoard (%s)", Path(name).name, wandb_api.in_a_line(error))
            del self.boards[name]

    def _advance(self, name: str) -> None:
        one, over = self.pending[name], name in self.ended
        try:
            to_server = not self.refused and wandb_api.online(one.note["mode"])
            one.push(to_server, all_of_them=over)
            if over:
                one.close()
                del self.pending[name]
            self.pause = FIRST_PAUSE
        except wandb_api.Refused as error:
            one.abandon()
            self.refused = True
            log.warning(REFUSED, error, one.run.folder.parent)
        except wandb_api.Unreachable as error:
            one.abandon()
            if self.pause == FIRST_PAUSE:
                log.warning(OUT_OF_REACH, error, one.run.folder.parent)
            self.retry_at, self.pause = (
                self.clock() + self.pause,
                min(2 * self.pause, LONGEST_PAUSE),
            )
        except wandb_api.Absent as error:
            self.absent = True
            self.pending.clear()
            log.warning(ABSENT, error)
        except Exception as error:  # of this run alone: a damaged file, another process at it
            one.abandon()
            del self.pending[name]
            log.warning("%s: not mirrored (%s)", one.run.name, wandb_api.in_a_line(error))


def main() -> int:
    """Do what standard input says, until there is nothing left to do; 0."""
    os.nice(19)
    console.show_messages()
    told: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(told,), daemon=True).start()
    follower, closed = Follower(), False
    while not (closed and follower.idle):
        try:
            while (what := told.get(timeout=0 if closed else POLL)) is not None:
                follower.hear(what)
            closed = True
            follower.ended |= {*follower.pending, *follower.boards}
        except queue.Empty:
            if closed:
                time.sleep(POLL / 5)
        except (RunDirError, ValueError) as error:
            log.warning("not mirrored: %s", error)
        follower.work()
    return 0


def _listen(told: "queue.Queue[dict[str, Any] | None]") -> None:
    try:
        for line in sys.stdin:
            told.put(json.loads(line))
    finally:  # a torn line is an end, too
        told.put(None)
        time.sleep(LINGER)
        os._exit(0)  # wherever the other thread hangs


if __name__ == "__main__":
    raise SystemExit(main())
