"""Each kind of error has its message and exit status, a mistake in the code its traceback."""

import signal
from unittest.mock import Mock

import pytest

from degradation.commands import exit_status
from degradation.config.validation import ConfigError
from degradation.data.dataset import DataError
from degradation.launch.stopping import Interrupted
from degradation.runs.run_dir import RunDirError
from degradation.system.files import StorageError
from degradation.training.checkpoint import CheckpointError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 1),
        (ConfigError("why\x1b[2J"), 2),
        (RunDirError("why"), 2),
        (CheckpointError("why"), 2),
        (DataError("why"), 3),
        (StorageError(28, "why"), 5),
        (Interrupted(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_statuses(error: BaseException | None, status: int, capsys) -> None:
    assert exit_status.run(Mock(side_effect=error, return_value=1), []) == status
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert told.startswith("why") == (status in (2, 3, 5))


def test_a_mistake_in_the_code_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status.run(Mock(side_effect=ZeroDivisionError), [])
