"""Requests to stop: at once before training, at the next poll in it, at once when repeated."""

import os
import signal
import subprocess
import sys

import pytest

from degradation.system import signals
from degradation.system.signals import STOP_SIGNALS, Stop, Stopped


@pytest.fixture(autouse=True)
def no_handlers() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_before_the_first_poll_a_signal_ends_the_process(number: signal.Signals) -> None:
    stop = Stop().listen()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), number)
    assert stop.status == 128 + number


def printed(code: str) -> str:
    """What a Python of its own prints: in this one, numpy's threads would take a blocked signal."""
    imports = "from degradation.system import signals", "from degradation.system.signals import *"
    words = [sys.executable, "-c", "\n".join(["import os, signal", *imports, code])]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_blocked_signal_is_handled_once_a_handler_is_there(number: signal.Signals) -> None:
    code = f"""
signals.block_signals()
os.kill(os.getpid(), {number})
stop = Stop()
try:
    stop.listen()
except Stopped:
    print(stop.status, signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert printed(code) == f"{128 + number} set()\n"


def test_under_nohup_a_lost_terminal_stops_nothing() -> None:
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.block_signals()
stop = Stop().listen()
os.kill(os.getpid(), signal.SIGHUP)
print(stop.signal)
stop.polled = True
os.kill(os.getpid(), signal.SIGTERM)
print(stop.status)
"""
    assert printed(code) == "None\n143\n"


def test_once_polled_it_is_a_flag() -> None:
    stop = Stop().listen()
    assert not stop()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop()
    assert stop.status == 143


def test_a_second_request_ends_at_once_but_an_echo_is_none(monkeypatch) -> None:
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
