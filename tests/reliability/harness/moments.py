"""Something happens in a child at a chosen moment: a signal, a refusal, damage.

Each `at_…` gives a change (see `training`) for a child, which calls `act` when the moment comes.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from degradation.system import files
from degradation.training import checkpoint
from degradation.training.devices import engine
from degradation.training.loop import Saver

from . import child
from .training import Change

Act = Callable[[], object]

SAVE_EVERY = 3  # iterations; by the product's own rule, by time, a short run would hardly be saved
# The calls to the kernel by which `degradation.system.files` changes something.
OPERATIONS = (
    "open",
    "write",
    "fsync",
    "close",
    "replace",
    "unlink",
    "truncate",
    "ftruncate",
    "mkdir",
)


def kill() -> None:
    """As the kernel does it: no handler, no `finally`."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> Act:
    """Raise the OSError of errno `number`, and print that."""

    def act() -> None:
        print("refused")
        raise OSError(number, os.strerror(number))

    return act


def save_often() -> None:
    """In a child: save every SAVE_EVERY iterations, and not by time."""

    def is_due(saver: Saver) -> bool:
        iteration = saver.context.state.iteration
        return iteration > 0 and iteration % SAVE_EVERY == 0

    Saver.is_due = is_due


def before_each_call(owner: Any, name: str, act: Callable[[int], object]) -> None:
    """In a child: call `act` before each call of a function, with the number of the call."""
    real, calls = getattr(owner, name), count(1)

    def counted(*args: Any, **named: Any) -> Any:
        act(next(calls))
        return real(*args, **named)

    setattr(owner, name, counted)


def before_call(owner: Any, name: str, nth: int, act: Act) -> None:
    """In a child: call `act` before the `nth` call of a function."""
    before_each_call(owner, name, lambda number: act() if number == nth else None)


def before_operation(nth: int, act: Act) -> None:
    """In a child: call `act` before the `nth` of OPERATIONS that storage does."""
    calls = count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **named: Any) -> Any:
            if _storage_called() and next(calls) == nth:
                act()
            return real(*args, **named)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))


def _storage_called() -> bool:
    """Whether storage called the function that asks, itself or through pathlib."""
    frame = sys._getframe(2)
    for _ in range(3):
        if frame.f_globals.get("__name__") == files.__name__:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def at_step(act: Act, nth: int) -> Change:
    """Before the `nth` training step of the process."""
    return lambda: before_call(engine, "train_step", nth, act)


def at_evaluation(act: Act, nth: int) -> Change:
    """Before the `nth` batch that the process evaluates."""
    return lambda: before_call(Saver, "stop_if_asked", nth, act)


def at_save(act: Act, nth: int, operation: int) -> Change:
    """Before an operation (from 1) of the `nth` checkpoint that the process saves."""
    return lambda: before_call(checkpoint, "save", nth, lambda: before_operation(operation, act))


def at_row(act: Act, nth: int, size: int) -> Change:
    """After `size` bytes of the `nth` row that the process writes."""

    def change() -> None:
        real, rows = files.append_line, count(1)

        def append_line(path: Path, line: str) -> None:
            if path.name == "curves.jsonl" and next(rows) == nth:
                with path.open("ab") as file:
                    file.write(line.encode()[:size])
                act()
            real(path, line)

        files.append_line = append_line

    return change


def disturbed_saves(folder: Path, older: int, act: Act) -> Iterator[str]:
    """Save a checkpoint after `older` others, with `act` before its k-th operation, for each k
    that there is. "" where one is left to go on from, and nothing in part; else what is there."""
    content = bytes(50_000)
    for k in count(1):
        place = folder / f"{older}-{k}"
        files.make_folder(place)
        for iteration in range(older):
            checkpoint.save(place, iteration, content + bytes([iteration]))

        def save(place: Path = place, k: int = k) -> None:
            before_operation(k, act)
            checkpoint.save(place, older, content)

        end = child.run(save, folder / "log")
        if end.status == 0 and "refused" not in end.output:
            return
        saved = checkpoint.saved(place)
        left = [*place.glob(".*")] if end.status > 0 else []  # a killed one can't clean up
        whole = all(files.sha256_of(path) in path.name for path in saved)
        named = end.status <= 0 or "StorageError" in end.output
        fine = whole and len(saved) >= older and not left and named
        yield "" if fine else f"before operation {k}: {[path.name for path in [*saved, *left]]}"
