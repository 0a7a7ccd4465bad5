"""Being asked to stop: at once before training, at the next look in it, at once if asked again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from degradation.system import signals
from degradation.system.signals import ASKS, Stop, Stopped


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ASKS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ASKS)
def test_before_anyone_looks_a_signal_ends_what_goes_on(number: signal.Signals) -> None:
    stop = Stop().listen()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), number)
    assert stop.status == 128 + number


def told(code: str) -> str:
    """What a Python of its own prints: here, numpy's threads would take a signal held back."""
    imports = "import os, signal\nfrom degradation import signals\nfrom degradation.system.signals import *\n"
    words = [sys.executable, "-c", f"{imports}\n{code}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", ASKS)
def test_a_signal_that_was_held_back_is_heard_by_who_listens(number: signal.Signals) -> None:
    code = f"""
signals.hold_back()
os.kill(os.getpid(), {number})
stop = Stop()
try:
    stop.listen()
except Stopped:
    print(stop.status, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert told(code) == f"{128 + number} set()\n"


def test_who_is_started_holds_them_back_too() -> None:
    code = """
import subprocess, sys
signals.hold_back()
code = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
subprocess.run([sys.executable, "-c", code])
"""
    assert told(code) == f"{sorted(ASKS)}\n"


def test_under_nohup_a_lost_terminal_asks_for_nothing() -> None:
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.hold_back()
stop = Stop().listen()
os.kill(os.getpid(), signal.SIGHUP)
print(stop.signal)
stop.polled = True
os.kill(os.getpid(), signal.SIGTERM)
print(stop.status)
"""
    assert told(code) == "None\n143\n"


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
