"""A run trained in the test's own process, to its end or with a stop on the way, and its bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop, Stopped
from degradation.training import checkpoint, loop, setup, worker
from degradation.training.devices.interleave import drain
from degradation.training.loop import TrainContext


def context_of(
    config: schema.RunConfig,
    machine: schema.Machine,
    folder: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainContext:
    """All that a run needs, in its folder below `folder` or `machine.runs`."""
    run = RunDir((folder or Path(machine.runs)) / config.name)
    run.create(config)
    asked: Any = stop or Stop()
    return setup.prepare(run, machine, asked)


def train_here(
    config: schema.RunConfig,
    machine: schema.Machine,
    folder: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunDir:
    """The finished run; with `stop`, it was stopped where that said so, and went on."""
    run = RunDir((folder or Path(machine.runs)) / config.name)
    run.create(config)
    if stop is not None:
        stop_here(context_of(config, machine, folder, stop))
    drain(worker.train_to_result(run, machine, Stop()))
    return run


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
