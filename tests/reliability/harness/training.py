"""Small runs on built-in data, trained in forked children, and what must be equal in the end."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from degradation.config import schema
from degradation.data import sources
from degradation.data.dataset import ImageDataset
from degradation.runs.run_dir import RunDir
from degradation.system import provenance
from degradation.training import checkpoint, worker
from degradation.training.state import fresh
from tests.conftest import small

from . import child
from .child import Body, End

Change = Callable[[], object]
"""Called in a child before it trains."""

ARMS = {"plain": "none", "residual": "identity"}
# The paper's ResNet-20 shape; rows and a drop of the learning rate in the middle.
FULL = {
    "model__width": 16,
    "recipe__iterations": 40,
    "recipe__batch_size": 32,
    "recipe__milestones": [22],
    "recipe__eval_every": 5,
    "depth": 20,
}


def config(arm: str = "residual", *, full: bool = False, **changes: Any) -> schema.RunConfig:
    """A run of a moment, or of seconds (`full`); `changes` by dotted key with `__` for the dot."""
    settings = {"model__shortcut": ARMS[arm], "recipe__warmup_min_depth": 8}
    return small(**{**settings, **(FULL if full else {}), **changes})


def cpu_machine(runs: Path, threads: int = 1, resume: str = "exact") -> schema.Machine:
    """The CPU, without W&B."""
    return schema.Machine(
        device="cpu",
        threads=threads,
        runs=str(runs),
        progress="none",
        resume=resume,
        wandb="disabled",
        wandb_project="reliability",
        wandb_entity=None,
    )


def made(runs: Path, config: schema.RunConfig) -> RunDir:
    """The run's folder below `runs`, made."""
    run = RunDir.of(config, runs)
    run.create(config)
    return run


_read: dict[str, ImageDataset] = {}


def warm(config: schema.RunConfig) -> None:
    """Let this process import and read once what each of its children would need."""
    _read[config.data.name] = sources.load(config.data)
    fresh(config, _read[config.data.name], torch.device("cpu"))


def _use_what_was_read() -> None:
    real = sources.load
    sources.load = lambda data: _read[data.name] if data.name in _read else real(data)
    provenance.commit = lambda: "none"


def training(run: RunDir, *changes: Change, machine: schema.Machine | None = None) -> Body:
    """The body of a child that trains `run` as `degradation.training.worker` does."""
    settings = machine or cpu_machine(run.folder.parent)

    def body() -> int:
        for change in (_use_what_was_read, *changes):
            change()
        return worker.main([str(run.folder), json.dumps(asdict(settings))])

    return body


def log_of(run: RunDir) -> Path:
    """Where children that train `run` print: beside the folder of the runs."""
    return run.folder.parent.with_name(f"{run.folder.parent.name}.log")


def train(run: RunDir, *changes: Change, machine: schema.Machine | None = None) -> End:
    """Train `run` in a child, until that ends."""
    return child.run(training(run, *changes, machine=machine), log_of(run))


@dataclass(frozen=True)
class Ending:
    """All that must be equal in the end: the rows, and the last checkpoint by its digest."""

    curves: bytes
    checkpoint: str
    exact: bool

    @classmethod
    def of(cls, run: RunDir) -> "Ending | None":
        """None where there is no result yet."""
        result = run.result()
        if result is None:
            return None
        curves = run.curves.read_bytes() if run.curves.exists() else b""
        saved = checkpoint.saved(run.checkpoints)
        if not saved:  # a network that diverged early
            return cls(curves, "", bool(result["exact"]))
        whole = checkpoint.newest(run.checkpoints) == saved[-1].read_bytes()
        return cls(curves, saved[-1].name, bool(result["exact"]) and whole)


def undisturbed(runs: Path, config: schema.RunConfig) -> Ending:
    """How a run ends that is trained below `runs` without interruption."""
    warm(config)
    run = made(runs, config)
    end = train(run)
    ending = Ending.of(run)
    assert end.status == 0 and ending is not None, end.output
    return ending


def resumed(run: RunDir, ending: Ending, *changes: Change) -> str:
    """Train `run` again: "" where it comes to `ending`, else what was wrong."""
    end = train(run, *changes)
    if problem := end.problem(0):
        return f"started again: {problem}"
    return "" if Ending.of(run) == ending else "started again: it ended otherwise"
