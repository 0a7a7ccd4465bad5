"""Files that the commands make, each written whole or not at all, the same bytes each time."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from degradation.system import files

FORMATS = ("png", "svg", "pdf")
# What would date a file is left out of it.
_UNDATED = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write(path: Path, content: bytes) -> None:
    """Make `path`, and the folder above it, hold `content`. Raises StorageError."""
    files.make_folder(path.parent)
    files.write_atomically(path, content)


def save(figure: Figure, out: Path, stem: str) -> None:
    """Write the figure in every format. Raises StorageError."""
    for kind in FORMATS:
        write(out / f"{stem}.{kind}", figure_bytes(figure, kind, stem))


def figure_bytes(figure: Figure, kind: str, salt: str) -> bytes:
    """A figure as the content of a file; `salt` makes the names inside an SVG unique."""
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(content, format=kind, metadata=_UNDATED[kind])
    return content.getvalue()
