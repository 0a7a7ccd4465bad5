"""RELIABILITY.md's claims in quick forms; `python -m tests.reliability` has the full counts."""

import sys
from pathlib import Path

import pytest

from tests.reliability import __main__ as reliability
from tests.reliability.harness.figure import Figure

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and signals of Linux")
# Without `cost`: other work on the machine changes it.
QUICK = [name for name in reliability.SECTIONS if name != "cost"]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_as_wanted(name: str) -> None:
    figures = reliability.section(name, full=False, seed=0)
    wrong = [f"{figure.what}: {figure.found}" for figure in figures if not figure.ok]
    assert figures and not wrong, "\n".join(wrong)


def test_the_table_takes_its_place_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{reliability.BEGIN}\nold\n{reliability.END}\nafter\n")
    found = {
        "kill": [Figure("a | b", "<c>", "d", True), Figure("e", "f", "skipped: no tmpfs", True)],
        "disk": [Figure("g", "h", "i", False)],
    }
    table = reliability.table(found, {"kill": 61.0, "disk": 59.0}, "seed 3, in full")
    reliability.write(page, table)
    before, begin, first, *lines, end, after = page.read_text().splitlines()
    assert (before, begin, end, after) == ("before", reliability.BEGIN, reliability.END, "after")
    assert first == "seed 3, in full, 2 minutes."
    assert lines[3:6] == [
        "| **Kill** | a \\| b | &lt;c> | d | yes |",
        "|  | e | f | skipped: no tmpfs | skipped |",
        "| **Disk** | g | h | i | **NO** |",
    ]
    assert lines[-1] == "1 of 3 as wanted, 1 skipped. Seconds: kill 61, disk 59."
