"""Messages that nobody can read end nothing."""

import os
import subprocess
import sys

import pytest

from degradation.system import console

PRINT = """
import logging
from degradation.system import console
console.show_messages()
logging.getLogger("degradation").warning("a message")
console.print_line("a line")
print("more", flush=True)
raise SystemExit(3)
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_the_output_ends_nothing() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([sys.executable, "-c", PRINT], stdout=full, stderr=full)
    assert done.returncode == 3


def test_a_closed_pipe_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", PRINT], stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 3


def test_half_a_character_is_told_as_its_escape(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_line(os.fsdecode(b"runs\xff"))
    assert capsys.readouterr().out == "runs\\udcff\n"
