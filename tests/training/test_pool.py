"""Turns: who goes next, how many at once, and what each keeps to itself."""

from collections.abc import Callable, Generator
from contextvars import ContextVar

import pytest

from degradation.training.devices.interleave import (
    Turns,
    finish,
    share,
    take_turns,
)

WHO: ContextVar[str] = ContextVar("who")


class Stage:
    """Records who is on it."""

    def __init__(self) -> None:
        self.present: list[str] = []
        self.most = 0
        self.order: list[str] = []

    def config(self, name: str, turns: int, ready: Callable[[], bool] = lambda: True) -> Turns[int]:
        WHO.set(name)
        self.present.append(name)
        self.most = max(self.most, len(self.present))
        for _ in range(turns):
            self.order.append(name)
            assert WHO.get() == name
            yield ready
        self.present.remove(name)
        return turns


def test_finish_gives_the_result() -> None:
    assert finish(Stage().config("a", 3)) == 3


@pytest.mark.parametrize(("part", "most"), [(1.0, 1), (1 / 2, 2), (1 / 3, 3), (1 / 6, 5)])
def test_as_many_at_once_as_fit_and_results_in_order(part: float, most: int) -> None:
    stage = Stage()
    configs = [
        (stage.config(name, turns), part)
        for name, turns in zip("abcde", (3, 1, 4, 1, 5), strict=True)
    ]
    assert take_turns(configs) == [3, 1, 4, 1, 5]
    assert stage.most == most


def test_turns_alternate() -> None:
    stage = Stage()
    take_turns([(stage.config("a", 2), 0.5), (stage.config("b", 2), 0.5)])
    assert stage.order == ["a", "b", "a", "b"]


def test_a_point_that_takes_the_device_waits_until_it_is_alone() -> None:
    stage = Stage()
    take_turns(
        [(stage.config("a", 2), 0.5), (stage.config("b", 2), 1.0), (stage.config("c", 1), 0.5)]
    )
    assert stage.order == ["a", "a", "b", "b", "c"]


def test_who_would_wait_is_passed_over() -> None:
    stage, answers = Stage(), iter([False, False, True])
    slow = stage.config("slow", 2, ready=lambda: next(answers, True))
    take_turns([(slow, 0.5), (stage.config("fast", 3), 0.5)])
    assert stage.order == ["slow", "fast", "fast", "fast", "slow"]


def test_a_point_that_ends_without_a_turn() -> None:
    def refused() -> Generator[Callable[[], bool], None, int]:
        return 2
        yield

    assert take_turns([(refused(), 1.0), (Stage().config("a", 1), 1.0)]) == [2, 1]


def test_shares() -> None:
    assert share("auto", 20, gpu=False) == 1
    assert share(4, 1202, gpu=False) == share(4, 20, gpu=True) == 1 / 4
    parts = [share("auto", depth, gpu=True) for depth in (20, 56, 110, 1202)]
    assert parts == sorted(parts) and parts[-1] == 1
