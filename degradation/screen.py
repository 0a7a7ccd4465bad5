"""Messages on the screen: bare lines on stderr, which don't tear a progress bar.

Nobody need look: a closed pipe or terminal, or a full disk behind it, costs the messages alone.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from tqdm import tqdm

from degradation.schema import shown

HIDDEN = {"hidden": True}  # `extra` of a message that is for the run's log alone


class Unheard:
    """A stream that goes on when nobody reads it any more."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def say(text: str) -> None:
    """Print `text`, where someone reads it."""
    try:
        print(text.encode(errors="backslashreplace").decode(), flush=True)
    except OSError:  # what could not be written must not be tried again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            tqdm.write(shown(self.format(record)), file=Unheard(sys.stderr))


def show_messages() -> None:
    """Show what this package says, and nothing that libraries say below a warning."""
    log = logging.getLogger("degradation")
    log.handlers = [Screen()]
    log.setLevel(logging.INFO)
    log.propagate = False
