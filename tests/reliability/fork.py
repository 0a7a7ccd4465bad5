"""A run trained in a forked child: the parent has imported torch already, so it costs no start."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from degradation.config import schema
from degradation.config.schema import RunConfig
from degradation.data import sources
from degradation.data.dataset import ImageDataset
from degradation.runs.run_dir import RunDir
from degradation.system import provenance
from degradation.training import worker
from degradation.training.state import fresh

from .child import start, wait
from .pair import machine

Change = Callable[[], object]


@dataclass(frozen=True)
class End:
    """How a child ended: its exit status, or minus the signal that ended it; what it said."""

    status: int
    said: str


def ended(pid: int) -> int | None:
    """The exit status of a child that has ended; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def child(body: Callable[[], int | None], log: Path) -> End:
    """Run `body` in a child, to its end."""
    before = log.stat().st_size if log.exists() else 0
    status = wait(start(body, log))
    return End(status, log.read_bytes()[before:].decode(errors="replace"))


def body_of(run: RunDir, *changes: Change, how: schema.Machine | None = None) -> Callable[[], int]:
    """The body of a child that trains what is in `run`, as `degradation.training.worker` would.

    Each of `changes` is called in the child first.
    """
    settings = how or machine(run.folder.parent)
    words = [str(run.folder), worker.json.dumps(asdict(settings))]

    def body() -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for change in (find_done, *changes):
            change()
        return worker.main(words)

    return body


def once(run: RunDir, *changes: Change, log: Path | None = None) -> End:
    """Train what is in `run`, in a child, until it ends."""
    return child(body_of(run, *changes), log or log_of(run))


def log_of(run: RunDir) -> Path:
    """Where a child that trains `run` says what it says: beside the run's folder."""
    return run.folder.with_suffix(".said")


def warm(*configs: RunConfig) -> None:
    """Let this process import and read once what its children would each need."""
    for config in configs:
        _read[config.data.name] = sources.load(config.data)
        fresh(config, _read[config.data.name], torch.device("cpu"))


_read: dict[str, ImageDataset] = {}


def find_done() -> None:
    """In a child: use what `warm` has read."""
    real = sources.load
    sources.load = lambda data: _read[data.name] if data.name in _read else real(data)
    provenance.commit = lambda: "soak"


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until `condition` holds; whether it did in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
