"""The training loop. The iteration is the only clock.

    while iterations are left:
        a row, when one is due          errors since the last row, errors on the test set
        a checkpoint, when one is due
        x, y = loader.get_batch(step)
        train_step(x, y, lr), lr = learning_rate(step)
        the end of the warm-up, when the training error says so

Whatever is done, is done between two iterations; a stop asked for at any moment ends in a
checkpoint from which another process goes on to the same bytes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from degradation.config.schema import RunConfig
from degradation.data.loaders import EvalLoader, TrainLoader
from degradation.models import layer_stats
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stopped
from degradation.training import checkpoint
from degradation.training.devices.engine import Engine
from degradation.training.devices.interleave import Steps
from degradation.training.optimizer import learning_rate_tensor
from degradation.training.run_logger import RunLogger
from degradation.training.schedule import learning_rate
from degradation.training.state import State

SAVE_SHARE = 110
"""A checkpoint is due once so many times the last one's cost have passed: 0.9 % of the time. What
rows cost, and the last save, which is always made, have the rest of one percent."""


@dataclass
class TrainContext:
    """What one process needs to train one run."""

    config: RunConfig
    run: RunDir
    state: State
    loader: TrainLoader
    engine: Engine
    eval_loaders: dict[str, EvalLoader]
    """By the prefix of their columns: test, perhaps validation, train for train_error_eval."""
    logger: RunLogger | None
    """In the main process."""
    fingerprint: dict[str, Any]
    stop: Callable[[], bool]
    """Whether to save and leave."""
    log_layers_every: int = 0
    """Rows between two measurements of the layers; 0: none."""

    @cached_property
    def first_batch(self) -> tuple[Tensor, Tensor]:
        """Kept, as a loader that decodes ahead would have to start anew for it."""
        return self.loader.get_batch(0)


def train(context: TrainContext) -> Steps[dict[str, Any]]:
    """Train to the end, or to a loss that is no number; the result, as done.json has it.

    It pauses after each iteration, so that several runs can be interleaved on one device. Raises
    Stopped once everything is saved after `context.stop()` was true.
    """
    state, recipe = context.state, context.config.recipe
    saver = Saver(context)
    log_layers(context)
    while True:
        if recipe.row_at(state.iteration):
            context.engine.finish()
            if state.diverged_at is not None:
                return {"outcome": "diverged", "iteration": state.diverged_at}
            if state.row.images:
                log_row(context, saver)
        if state.iteration == recipe.iterations:
            saver.save()
            return {"outcome": "done", "iteration": state.iteration}
        saver.save_or_stop()
        advance(context)
        if context.logger is not None:
            context.logger.tick()
        yield context.engine.ready


def advance(context: TrainContext) -> None:
    """One iteration, and the end of the warm-up where it is due."""
    state, recipe = context.state, context.config.recipe
    x, y = context.loader.get_batch(state.iteration)
    lr = learning_rate(recipe, state.iteration, state.warmup_end, state.plateau.dropped)
    context.engine.train_step(x, y, lr)
    state.iteration += 1
    if state.warmup_end is None and state.iteration % recipe.warmup_window == 0:
        assert state.window is not None
        context.engine.finish()
        if state.window.error < recipe.warmup_error:
            state.warmup_end = state.iteration
        state.window.reset()


def log_row(context: TrainContext, saver: "Saver") -> None:
    """Measure, write, and start the next row's sums."""
    state, config = context.state, context.config
    started = time.monotonic()
    context.engine.note_gradient()
    context.engine.finish()
    row = train_metrics(context)
    for name, loader in context.eval_loaders.items():
        if name != "train" or config.recipe.evaluates_train_at(state.iteration):
            row |= eval_metrics(context, name, loader, saver)
    images = state.row.images
    state.plateau.see(config.recipe, state.iteration, row["train_error"])
    state.row.reset()
    state.rows += 1
    if context.logger is not None:
        context.logger.row(row, images, time.monotonic() - started)
    log_layers(context)


def train_metrics(context: TrainContext) -> dict[str, Any]:
    """The columns of a row that say how training went since the last one."""
    state, batch_size = context.state, context.config.recipe.batch_size
    gradient = float(state.gradient_norm)
    return {
        "iteration": state.iteration,
        "epoch": round(state.iteration * batch_size / context.loader.num_images, 4),
        # The optimizer has it in float32, which holds seven digits.
        "lr": float(f"{float(learning_rate_tensor(state.optimizer)):.6g}"),
        "train_loss": round(state.row.mean_loss, 6),
        "train_error": round(state.row.error, 4),
        "gradient_norm": float(f"{gradient:.6g}") if math.isfinite(gradient) else None,
    }


def eval_metrics(
    context: TrainContext, name: str, loader: EvalLoader, saver: "Saver"
) -> dict[str, float | None]:
    """The columns of a row that come from one set of images in eval mode, errors in percent.

    A stop leaves before the row is written.
    """
    loss, errors = context.engine.evaluate(loader, saver.stop_if_asked)
    error, mean = round(100 * errors / len(loader), 4), loss / len(loader)
    if name == "train":
        return {"train_error_eval": error}
    # Running statistics can overflow where no minibatch did: then the loss is null, and a result.
    finite = round(mean, 6) if math.isfinite(mean) else None
    return {f"{name}_loss": finite, f"{name}_error": error}


def log_layers(context: TrainContext) -> None:
    """Log layer statistics where they are due, on the first batch, which all runs of a seed share.

    Nothing of the state is touched. What a resumed process measures again is there twice, equal.
    """
    every, state, logger = context.log_layers_every, context.state, context.logger
    if logger and every and state.rows % every == 0 and not state.row.images:
        precision = context.config.numerics.precision
        layers = layer_stats.measure(state.network, *context.first_batch, precision)
        logger.layers(state.iteration, layers)


class Saver:
    """Saves the state when it is worth its time."""

    def __init__(self, context: TrainContext) -> None:
        self.context = context
        self.cost = 0.0
        self.last = time.monotonic()

    def save(self) -> None:
        """Save, unless the network has diverged: the last finite state is worth keeping."""
        context, state, started = self.context, self.context.state, time.monotonic()
        context.engine.finish()
        if state.diverged_at is not None or not state.finite:
            return
        content = state.to_bytes(context.config, context.fingerprint)
        if content is not None:
            checkpoint.save(context.run.checkpoints, state.iteration, content)
        self.last = time.monotonic()
        self.cost = self.last - started

    def is_due(self) -> bool:
        """Whether enough time has passed; the main process decides for all."""
        passed = time.monotonic() - self.last
        return self.context.state.group.is_main and passed >= max(SAVE_SHARE * self.cost, 1.0)

    def save_or_stop(self) -> None:
        """Save where it is due; raise Stopped where one of the processes was asked to stop."""
        stop, due = self.context.state.group.any(self.context.stop(), self.is_due())
        if stop or due:
            self.save()
        if stop:
            raise Stopped

    def stop_if_asked(self) -> None:
        """The same in the middle of an evaluation, where one process trains alone."""
        if self.context.stop():
            self.save()
            raise Stopped
