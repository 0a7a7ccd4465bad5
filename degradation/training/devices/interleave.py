"""Several points in one process, by turns, each on a CUDA stream of its own.

A small network's kernels leave most of a GPU idle; kernels of several streams fill it. Each run
launches what it would launch alone, so its bits are those of its solo run. The host only feeds: it
goes round, and passes over whoever has enough launched already.
"""

import contextvars
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Turns = Generator[Callable[[], bool], None, T]
"""Work that pauses now and then, saying how to find out whether going on would mean waiting."""

PAUSE = 1e-4  # seconds, when nobody is ready


def finish(turns: Turns[T]) -> T:
    """Take all turns; the result."""
    try:
        while True:
            next(turns)
    except StopIteration as end:
        result: T = end.value
        return result


@dataclass
class Lane:
    """One run's turns, with what belongs to them alone."""

    number: int
    turns: Turns[int]
    share: float
    ready: Callable[[], bool] = lambda: True
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    stream: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def turn(self) -> int | None:
        """Take one turn; the result, if it was the last."""
        try:
            with self.stream:
                self.ready = self.context.run(next, self.turns)
        except StopIteration as end:
            result: int = end.value
            return result
        return None


def take_turns(configs: Iterable[tuple[Turns[int], float]]) -> list[int]:
    """Finish all `points`, as many at once as their shares of the device add up to 1; the results.

    They begin in the order given. A run whose share is all that is left, or more, waits until it
    is alone.
    """
    waiting = deque(Lane(i, turns, share) for i, (turns, share) in enumerate(configs))
    if len(waiting) > 1 and torch.cuda.is_available():
        for lane in waiting:
            lane.stream = torch.cuda.stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
    lanes: list[Lane] = []
    results: dict[int, int] = {}
    while waiting or lanes:
        while waiting and (not lanes or sum(a.share for a in [*lanes, waiting[0]]) <= 1 + 1e-9):
            lanes.append(waiting.popleft())
        due = [lane for lane in lanes if lane.ready()]
        for lane in due:
            if (result := lane.turn()) is not None:
                results[lane.number] = result
                lanes.remove(lane)
        if not due:
            time.sleep(PAUSE)
    return [results[i] for i in sorted(results)]


def share(pack: int | str, depth: int, gpu: bool) -> float:
    """The part of the device that a run of `depth` layers takes.

    On a GPU, auto: by the launches and the traffic of its layers, a sixth up to 56 layers, a third
    at 110, all of it for 1,202 (a model; not measured yet). A CPU core is taken by one run.
    """
    if isinstance(pack, int):
        return 1 / pack
    if not gpu:
        return 1.0
    return 1 / 6 if depth < 100 else 1 / 3 if depth < 500 else 1.0
