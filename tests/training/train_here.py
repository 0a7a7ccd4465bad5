"""A run trained in the test's own process, to its end or with a stop on the way, and its bytes."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop, Stopped
from degradation.training import checkpoint, loop, setup, worker
from degradation.training.devices.interleave import drain
from degradation.training.loop import TrainContext


def created(
    config: schema.RunConfig, machine: schema.Machine, folder: Path | None = None
) -> RunDir:
    """A run's folder, below `folder` or `machine.runs`."""
    run = RunDir.of(config, folder or machine.runs)
    run.create(config)
    return run


def context_of(
    config: schema.RunConfig,
    machine: schema.Machine,
    folder: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainContext:
    """All that a run needs."""
    asked: Any = stop or Stop()
    return setup.prepare(created(config, machine, folder), machine, asked)


def train_here(
    config: schema.RunConfig,
    machine: schema.Machine,
    folder: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunDir:
    """The finished run; with `stop`, it was stopped where that said so, and went on."""
    if stop is not None:
        stop_here(context_of(config, machine, folder, stop))
    run = created(config, machine, folder)
    drain(worker.train_to_result(run, machine, Stop()))
    return run


def work(runs: Sequence[RunDir], machine: schema.Machine, at_once: int | str = "auto") -> int:
    """The exit status of a process that trains the runs, so many at a time."""
    settings = dataclasses.asdict(dataclasses.replace(machine, runs_per_gpu=at_once))
    return worker.main([*(str(run.folder) for run in runs), json.dumps(settings)])


def stop_here(context: TrainContext) -> bool:
    """Train until the context's `stop`; whether it came before the end."""
    try:
        drain(loop.train(context))
    except Stopped:
        return True
    finally:
        context.logger.close()
        context.loader.close()
    return False


def bits(run: RunDir) -> tuple[bytes, bytes | None]:
    """The rows, and the last checkpoint."""
    return run.curves.read_bytes(), checkpoint.newest(run.checkpoints)
