"""Where a child is, told to its parent; and a signal to itself at a moment that was chosen."""

import mmap
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from degradation.system import files
from degradation.training import checkpoint, loop, run_logger
from degradation.training.devices import engine
from degradation.training.loop import Saver, TrainContext

from . import operations

PLACES = ("start", "step", "evaluation", "row", "save")
SAVE_EVERY = 3  # iterations; the product's own rule, by time, would save a short run hardly ever


class Watch:
    """One byte that parent and child share: the place of PLACES where the child is."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 2)

    @property
    def place(self) -> str:
        return PLACES[self.memory[0]]

    @property
    def passed(self) -> int:
        """Places entered so far, by the child that runs now; up to 255."""
        return self.memory[1]

    def clear(self) -> None:
        self.memory[0] = self.memory[1] = 0

    def follow(self) -> None:
        """In the child: keep the byte true."""
        for owner, name, place in (
            (loop, "eval_metrics", "evaluation"),
            (checkpoint, "save", "save"),
            (loop, "advance", "step"),
            (run_logger.RunLogger, "row", "row"),
        ):
            setattr(owner, name, self._marked(getattr(owner, name), PLACES.index(place)))

    def _marked(self, real: Callable[..., Any], place: int) -> Callable[..., Any]:
        def marked(*args: Any, **named: Any) -> Any:
            before, self.memory[0] = self.memory[0], place
            self.memory[1] = min(255, self.memory[1] + 1)
            result = real(*args, **named)
            self.memory[0] = before
            return result

        return marked


def save_often() -> None:
    """In the child: save every SAVE_EVERY iterations, and not by time."""

    def is_due(saver: Saver) -> bool:
        iteration = saver.context.state.iteration
        return iteration > 0 and iteration % SAVE_EVERY == 0

    Saver.is_due = is_due  # type: ignore[method-assign]


@dataclass(frozen=True)
class Moment:
    """The `nth` time that a child is in `place`, and how far in it: an operation, a batch."""

    place: str
    nth: int
    within: int

    def strike(self, act: Callable[[], None] = operations.kill) -> None:
        """In the child: call `act` when the moment comes."""
        getattr(self, f"_{self.place}")(act)

    def _save(self, act: Callable[[], None]) -> None:
        real, calls = checkpoint.save, [0]

        def save(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] != self.nth:
                return real(*args)
            with operations.acting(self.within, act):
                return real(*args)

        checkpoint.save = save

    def _evaluation(self, act: Callable[[], None]) -> None:
        real, calls = loop.eval_metrics, [0]

        def eval_metrics(context: TrainContext, *args: Any) -> Any:
            calls[0] += 1
            if calls[0] != self.nth:
                return real(context, *args)
            looks, before = [0], context.stop

            def stop() -> bool:
                looks[0] += 1
                if looks[0] == self.within:
                    act()
                return before()

            context.stop = stop
            try:
                return real(context, *args)
            finally:
                context.stop = before

        loop.eval_metrics = eval_metrics

    def _row(self, act: Callable[[], None]) -> None:
        """After `within` bytes of the line."""
        real, calls = files.append_line, [0]

        def append_line(path: Any, line: str) -> None:
            calls[0] += path.name == "curves.jsonl"
            if path.name == "curves.jsonl" and calls[0] == self.nth:
                with path.open("ab") as file:
                    file.write(line.encode()[: self.within])
                act()
            real(path, line)

        files.append_line = append_line

    def _step(self, act: Callable[[], None]) -> None:
        real, calls = engine.train_step, [0]

        def train_step(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] == self.nth:
                act()
            return real(*args)

        engine.train_step = train_step

    def _start(self, act: Callable[[], None]) -> None:
        from degradation.training import setup

        real = setup.fresh

        def fresh(*args: Any) -> Any:
            act()
            return real(*args)

        setup.fresh = fresh


def send(pid: int, number: int, delay: float) -> None:
    """Send a signal after a while; what is gone by then is let go."""
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def one_of(choices: Sequence[str], draw: Any) -> "Moment":
    """A moment at a random one of `choices`."""
    place = draw.choice(choices)
    within = {"save": (1, 12), "evaluation": (1, 4), "row": (0, 150)}.get(place, (1, 1))
    nth = {"save": (1, 4), "evaluation": (1, 3), "row": (1, 2), "step": (1, 12)}.get(place, (1, 1))
    return Moment(place, draw.randint(*nth), draw.randint(*within))


SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
