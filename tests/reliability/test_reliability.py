"""RELIABILITY.md's claims in quick forms; `python -m tests.reliability` has the full counts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from degradation.system.paths import TOP
from tests.reliability import __main__ as soak
from tests.reliability import damage, disk, kill, pair, resume, signals, sweeps, together
from tests.reliability.figure import Figure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and signals of Linux")

QUICK: dict[str, Callable[[Path], list[Figure]]] = {
    "killed": lambda f: kill.killed(False, f, 0),
    "crash points": lambda f: kill.crash_points(False, f),
    "power cuts": lambda f: [kill.power_cuts(f)],
    "damage": lambda f: damage.figures(False, f, 0),
    "signals everywhere": lambda f: signals.everywhere(False, f),
    "asked again": lambda f: [signals.again(f)],
    "stopped": lambda f: [signals.stopped_and_continued(f)],
    "orphaned": lambda f: [signals.orphaned(f)],
    "unread": lambda f: signals.unread(False, f),
    "resume": lambda f: resume.figures(False, f, 0),
    "disk": lambda f: disk.figures(False, f, 0),
    "sweeps": lambda f: sweeps.figures(False, f, 0),
    "together": lambda f: together.figures(False, f, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_as_wanted(name: str, tmp_path: Path) -> None:
    found = QUICK[name](tmp_path)
    wrong = [f"{f.what}: {f.got}" for f in found if not f.ok]
    assert found and not wrong, "\n".join(wrong)


FIGURES = [
    Figure("Kill", "a | b", "<c>", "d", True),
    Figure("Kill", "e", "f", "skipped: no strace", True),
    Figure("Disk", "g", "h", "i", False),
]


def test_the_table_says_what_was_as_wanted_what_was_not_and_what_was_not_tried() -> None:
    what = soak.circumstances(quick=False, seed=3)
    told = soak.table(FIGURES, {"kill": 61.0, "disk": 59.0}, what).splitlines()
    assert "seed 3, in full, 2 minutes" in told[0]
    assert told[4:7] == [
        "| **Kill** | a \\| b | &lt;c> | d | yes |",
        "|  | e | f | skipped: no strace | skipped |",
        "| **Disk** | g | h | i | **NO** |",
    ]
    assert told[-1] == "1 of 3 as wanted, 1 skipped. Seconds: kill 61, disk 59."


def test_the_table_takes_its_place_in_the_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{soak.BEGIN}\nold\n{soak.END}\nafter\n")
    soak.written(page, "new")
    assert page.read_text() == f"before\n{soak.BEGIN}\nnew\n{soak.END}\nafter\n"
    real = Path(__file__).parents[2] / "RELIABILITY.md"
    assert real.read_text().count(soak.BEGIN) == real.read_text().count(soak.END) == 1


def test_a_section_that_is_not_there_is_not_as_wanted() -> None:
    (figure,) = soak.section("no_such", full=False, seed=0)
    assert not figure.ok and "not run" in figure.got


def test_the_deaths_reach_a_real_worker(small, machine) -> None:
    """Those of the full form, whose workers are the command's own."""
    run = pair.made(Path(machine.runs), small(seed=0))
    folder = Path(sweeps.__file__).parent / "dying"
    words = [sys.executable, "-m", "degradation.training.worker", str(run.folder)]
    done = subprocess.run(
        [*words, json.dumps(asdict(machine))],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{TOP}"},
    )
    assert done.returncode == 1
    assert "a fault of the run's own" in run.failure()["message"]
