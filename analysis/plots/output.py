"""Files that the commands make: each whole or not at all, and never through a link.

Pure functions make the bytes; here they get their names. What the disk refuses is exit status 5.
"""

from pathlib import Path

from analysis.plots.markup import shown
from degradation.system import files
from degradation.system.files import StorageError

__all__ = ["StorageError", "refusal", "write"]


def write(path: Path, content: bytes) -> None:
    """Make `path`, and the folder above it, hold `content`. Raises StorageError."""
    files.make_folder(path.parent)
    files.write_atomically(path, content)


def refusal(error: StorageError) -> str:
    """What the disk refused, and what helps, as these commands say it."""
    return shown(str(error)).replace("machine.runs=", "--out ")
