"""Interleaved runs: which goes next, how many at once, and what each keeps to itself."""

from collections.abc import Callable
from contextvars import ContextVar

import pytest

from degradation.training.devices.interleave import Steps, interleave

NAME: ContextVar[str] = ContextVar("name")


class Recorder:
    """Runs that record when each of them is active."""

    def __init__(self) -> None:
        self.active: list[str] = []
        self.most = 0
        self.order: list[str] = []

    def run(self, name: str, steps: int, ready: Callable[[], bool] = lambda: True) -> Steps[int]:
        NAME.set(name)
        self.active.append(name)
        self.most = max(self.most, len(self.active))
        for _ in range(steps):
            self.order.append(name)
            assert NAME.get() == name
            yield ready
        self.active.remove(name)
        return steps


@pytest.mark.parametrize(("part", "most"), [(1.0, 1), (1 / 2, 2), (1 / 3, 3), (1 / 6, 5)])
def test_as_many_at_once_as_fit_and_results_in_order(part: float, most: int) -> None:
    recorder = Recorder()
    lengths = dict(zip("abcde", (3, 1, 4, 1, 5), strict=True))
    runs = [(recorder.run(name, steps), part) for name, steps in lengths.items()]
    assert interleave(runs) == [3, 1, 4, 1, 5]
    assert recorder.most == most


@pytest.mark.parametrize(
    ("fractions", "order"),
    [((0.5, 0.5, 0.5), "ababc"), ((0.5, 1.0, 0.5), "aabbc")],  # here b waits until it is alone
)
def test_steps_alternate(fractions: tuple[float, ...], order: str) -> None:
    recorder = Recorder()
    runs = [recorder.run(name, steps) for name, steps in {"a": 2, "b": 2, "c": 1}.items()]
    interleave(zip(runs, fractions, strict=True))
    assert "".join(recorder.order) == order


def test_a_run_that_would_wait_is_passed_over() -> None:
    recorder, answers = Recorder(), iter([False, False, True])
    slow = recorder.run("slow", 2, ready=lambda: next(answers, True))
    interleave([(slow, 0.5), (recorder.run("fast", 3), 0.5)])
    assert recorder.order == ["slow", "fast", "fast", "fast", "slow"]
