"""The claims of RELIABILITY.md in their quick forms; `python -m tests.soak` has the full counts."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from soak import damage, disk, kill, resume, signals, sweeps, together
from soak.figure import Figure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and signals of Linux")

# Those of `signals` and `disk` one by one below: from outside they take too long for a test.
QUICK: dict[str, Callable[[Path], list[Figure]]] = {
    "killed": lambda f: kill.killed(False, f, 0),
    "crash points": lambda f: kill.crash_points(False, f),
    "power cuts": lambda f: [kill.power_cuts(f)],
    "damage": lambda f: damage.figures(False, f, 0),
    "signals everywhere": lambda f: signals.everywhere(False, f),
    "asked again": lambda f: [signals.again(f)],
    "stopped": lambda f: [signals.stopped_and_continued(f)],
    "orphaned": lambda f: [signals.orphaned(f)],
    "unread": lambda f: signals.unread(f),
    "resume": lambda f: resume.figures(False, f, 0),
    "disk": lambda f: disk.figures(False, f, 0),
    "sweeps": lambda f: sweeps.figures(False, f, 0),
    "together": lambda f: together.figures(False, f, 0),
}


@pytest.mark.parametrize("name", QUICK)
def test_as_wanted(name: str, tmp_path: Path) -> None:
    found = QUICK[name](tmp_path)
    wrong = [f"{f.what}: {f.got}" for f in found if not f.ok]
    assert found and not wrong, "\n".join(wrong)
