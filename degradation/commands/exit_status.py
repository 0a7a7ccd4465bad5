"""The one place that turns an error into a message and the exit status of a command.

0: all that was asked for is done; 1: a run has no result, or a check failed; 2: refused (a setting,
a run folder); 3: the data is not there; 5: the disk refused; 128 + n: stopped by signal n.
"""

import signal
from collections.abc import Callable

from degradation.config.validation import ConfigError
from degradation.data.dataset import DataError
from degradation.launch.stopping import Interrupted
from degradation.runs.run_dir import RunDirError
from degradation.system import console
from degradation.system.files import StorageError
from degradation.tracking.wandb_api import TrackingError

STATUSES = {StorageError: 5, DataError: 3, ConfigError: 2, RunDirError: 2, TrackingError: 2}
"""CheckpointError, which needs torch, is a RunDirError."""


def run(command: Callable[[list[str]], int], words: list[str]) -> int:
    """Call a command with the words behind its name; its exit status.

    Raises only what is a mistake in the code: its message is not meant for people.
    """
    try:
        return command(words)
    except Interrupted as error:
        return 128 + error.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except tuple(STATUSES) as error:
        console.print_error(str(error))
        return next(status for kind, status in STATUSES.items() if isinstance(error, kind))
