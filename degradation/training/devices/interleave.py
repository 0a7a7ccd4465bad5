"""Several runs in one process, interleaved on one device, each on a CUDA stream of its own.

A small network's kernels leave most of a GPU idle; kernels of several streams fill it. Each run
launches what it would launch alone, so its bits are those of its solo run. The host goes round, and
passes over a run that has enough launched already.
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
Steps = Generator[Callable[[], bool], None, T]
"""A generator that yields a function: would the next step go on without waiting for the GPU?"""

PAUSE = 1e-4  # seconds, when no run is ready


def drain(steps: Steps[T]) -> T:
    """Take all steps; the result."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


@dataclass
class Slot:
    """One run's steps, with what belongs to that run alone."""

    steps: Steps[int]
    fraction: float
    result: int | None = None
    ready: Callable[[], bool] = lambda: True
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    stream: AbstractContextManager[Any] = field(default_factory=nullcontext)

    def step(self) -> None:
        """Take one step; the last one has the result."""
        try:
            with self.stream:
                self.ready = self.context.run(next, self.steps)
        except StopIteration as end:
            self.result = end.value


def interleave(
    runs: Iterable[tuple[Steps[int], float]], device: torch.device | None = None
) -> list[int]:
    """Finish all `runs`, as many at once as their fractions of `device` add up to 1; the results.

    They start in the order given. A run whose fraction is all that is left, or more, waits until it
    is alone.
    """
    slots = [Slot(steps, part) for steps, part in runs]
    waiting, active, streams = deque(slots), list[Slot](), Streams(device)
    while waiting or active:
        taken = sum(slot.fraction for slot in active)
        while waiting and (not active or taken + waiting[0].fraction <= 1 + 1e-9):
            taken += waiting[0].fraction
            active.append(waiting.popleft())
            active[-1].stream = streams.take()
        due = [slot for slot in active if slot.ready()]
        for slot in due:
            slot.step()
            if slot.result is not None:
                active.remove(slot)
                streams.give_back(slot.stream)
        if not due:
            time.sleep(PAUSE)
    return [slot.result for slot in slots if slot.result is not None]


class Streams:
    """CUDA streams for the runs of one device; those of finished runs are used again, since torch
    has 32 in all, and gives one of them to two runs where it is asked for more."""

    def __init__(self, device: torch.device | None) -> None:
        self.device = device
        self.free: list[AbstractContextManager[Any]] = []

    def take(self) -> AbstractContextManager[Any]:
        """Within it, a run's work goes to its own stream of the device."""
        if self.device is None or self.device.type != "cuda":
            return nullcontext()
        if self.free:
            return self.free.pop()
        own = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(own)

    def give_back(self, stream: AbstractContextManager[Any]) -> None:
        self.free.append(stream)


def fraction(runs_per_gpu: int | str, depth: int, device: torch.device | None) -> float:
    """The part of the device that a run of `depth` layers takes.

    On a GPU, auto: by the launches and the traffic of its layers, a sixth up to 56 layers, a third
    at 110, all of it for 1,202 (a model; not measured yet). A CPU core is taken by one run.
    """
    if isinstance(runs_per_gpu, int):
        return 1 / runs_per_gpu
    if device is None or device.type != "cuda":
        return 1.0
    return 1 / 6 if depth < 100 else 1 / 3 if depth < 500 else 1.0
