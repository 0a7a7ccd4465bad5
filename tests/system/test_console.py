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


@pytest.mark.parametrize("gone", ["a full disk", "a closed pipe"])
def test_an_output_that_nobody_can_read_ends_nothing(gone: str) -> None:
    if gone == "a full disk":
        output = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    done = subprocess.run([sys.executable, "-c", PRINT], stdout=output, stderr=output)
    os.close(output)
    assert done.returncode == 3


def test_half_a_character_is_told_as_its_escape(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_line(os.fsdecode(b"runs\xff"))
    assert capsys.readouterr().out == "runs\\udcff\n"
