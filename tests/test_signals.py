"""Being asked to stop: at once before training, at the next look in it, at once if asked again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from degradation import signals
from degradation.signals import ASKS, Stop, Stopped


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ASKS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ASKS)
def test_before_anyone_looks_a_signal_ends_what_goes_on(number: signal.Signals) -> None:
    stop = Stop().listen()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), number)
    assert stop.status == 128 + number


@pytest.mark.parametrize("number", ASKS)
def test_a_signal_that_was_held_back_is_heard_by_who_listens(number: signal.Signals) -> None:
    signals.hold_back()
    os.kill(os.getpid(), number)
    stop = Stop()
    with pytest.raises(Stopped):
        stop.listen()
    assert stop.status == 128 + number
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(ASKS)


def test_who_is_started_holds_them_back_too() -> None:
    signals.hold_back()
    code = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    Stop().listen()
    assert all(f"{number!r}" in held.stdout for number in ASKS)


def test_once_someone_looks_it_is_a_flag() -> None:
    stop = Stop().listen()
    assert not stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    assert stop.status == 143


def test_asked_again_it_ends_at_once_but_an_echo_is_not_again(monkeypatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    stop = Stop().listen()
    stop()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    assert left == []
    stop.at -= signals.SAME_REQUEST
    os.kill(os.getpid(), signal.SIGINT)
    assert left == [130]


def test_names() -> None:
    assert signals.name(9) == "SIGKILL"
    assert signals.name(99) == "signal 99"
