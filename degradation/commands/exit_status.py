"""The one place that turns an error into a message and the exit status of a command.

0: all that was asked for is done; 1: a run has no result, or a check failed; 2: refused (a setting,
a run folder); 3: the data is not there; 5: the disk refused; 128 + n: stopped by signal n.
"""

import signal
import sys
from collections.abc import Callable

from degradation.config.validation import ConfigError
from degradation.data.dataset import DataError
from degradation.launch.stopping import Interrupted
from degradation.runs.run_dir import RunDirError
from degradation.system import console
from degradation.system.files import StorageError
from degradation.tracking.wandb_api import TrackingError

STATUSES: list[tuple[tuple[type[BaseException], ...], int]] = [
    ((StorageError,), 5),
    ((DataError,), 3),
    ((ConfigError, RunDirError, TrackingError), 2),
]
"""CheckpointError, which needs torch, is a RunDirError."""


def exit_status(error: BaseException) -> int:
    """Print the message of `error` on stderr; the exit status that stands for it.

    Raises `error` itself where its message is not meant for people.
    """
    if isinstance(error, Interrupted):
        return 128 + error.number
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    for kinds, status in STATUSES:
        if isinstance(error, kinds):
            message = console.escape_control_chars(str(error))
            print(message, file=console.IgnoreBrokenPipe(sys.stderr))
            return status
    raise error


def run(command: Callable[[list[str]], int], words: list[str]) -> int:
    """Call a command with the words behind its name; its exit status, whatever it raises."""
    try:
        return command(words)
    except (Exception, Interrupted, KeyboardInterrupt) as error:
        return exit_status(error)
