"""Messages on the screen: bare lines on stderr, which don't tear a progress bar."""

import logging
import sys

from tqdm import tqdm

from degradation.schema import shown

HIDDEN = {"hidden": True}  # `extra` of a message that is for the run's log alone


class Screen(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            tqdm.write(shown(self.format(record)), file=sys.stderr)


def show_messages() -> None:
    """Show what this package says, and nothing that libraries say below a warning."""
    log = logging.getLogger("degradation")
    log.handlers = [Screen()]
    log.setLevel(logging.INFO)
    log.propagate = False
