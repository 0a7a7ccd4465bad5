"""Messages for people: plain lines on stderr that leave a progress bar intact.

A closed pipe or terminal, or a full disk behind it, costs the messages alone.
"""

import argparse
import difflib
import logging
import os
import reprlib
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import Any, TextIO

from tqdm import tqdm

HIDDEN = {"hidden": True}  # `extra` of a message that belongs in the run's log alone


def escape_control_chars(text: str) -> str:
    """`text` with every unprintable character but line ends escaped: text from a file must not
    send escape sequences to the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100


def short_repr(value: Any) -> str:
    """A value in a message: short, on one line, a plain word without quotes."""
    if isinstance(value, str) and value.isprintable() and 0 < len(value.strip()) <= 100:
        return value
    return escape_control_chars(_short.repr(value))


def did_you_mean(word: str, known: Collection[str]) -> str:
    """` (did you mean 'x'?)` for the known word nearest to `word`, otherwise nothing."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def parser(command: str, doc: str | None, usage: str | None = None) -> argparse.ArgumentParser:
    """The parser of `degradation COMMAND`, which shows the docstring of its module as help."""
    return argparse.ArgumentParser(
        prog=f"degradation {command}",
        usage=usage,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


class IgnoreBrokenPipe:
    """A stream whose writer goes on when nobody reads it any more."""

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


def print_line(text: str) -> None:
    """Print `text` on stdout, if someone reads it."""
    try:
        print(text.encode(errors="backslashreplace").decode(), flush=True)
    except OSError:
        # Python would try to write what is buffered once more at exit, and fail loudly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(text: str) -> None:
    """Print `text` on stderr, if someone reads it."""
    print(escape_control_chars(text), file=IgnoreBrokenPipe(sys.stderr))


class ConsoleHandler(logging.Handler):
    """Writes log messages to stderr, above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            text = escape_control_chars(self.format(record))
            tqdm.write(text, file=IgnoreBrokenPipe(sys.stderr))


def show_messages() -> None:
    """Show this package's messages, and nothing that libraries log below a warning."""
    log = logging.getLogger("degradation")
    log.handlers = [ConsoleHandler()]
    log.setLevel(logging.INFO)
    log.propagate = False
