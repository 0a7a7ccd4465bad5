"""curves.jsonl -> TensorBoard, for those who prefer it: machine.tensorboard=true.

An event file can't be mended, so a run's are written anew whenever a process begins to follow it:
they hold each row once, whatever was killed before.
"""

import logging
from typing import Any

from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.tracking import keys

log = logging.getLogger("degradation")


class Board:
    """One run's rows on their way to its folder `tensorboard`."""

    def __init__(self, run: RunDir, writer: Any) -> None:
        self.run, self.writer, self.sent = run, writer, 0

    def push(self) -> None:
        """Add the rows that came since the last time."""
        for row in self.run.rows()[self.sent :]:
            for key in keys.COLUMNS[1:]:
                if row.get(key) is not None:
                    self.writer.add_scalar(key, row[key], row["iteration"])
            self.sent += 1
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def begin(run: RunDir) -> Board | None:
    """A board without rows, or None where TensorBoard isn't installed."""
    try:
        from tensorboard.summary import Writer
    except ImportError:
        log.warning("machine.tensorboard=true needs TensorBoard: pip install "
                    "'degradation[tensorboard]'")  # fmt: skip
        return None
    folder = run.folder / "tensorboard"
    files.remove_folder(folder)
    return Board(run, Writer(str(folder)))
