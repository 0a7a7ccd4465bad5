"""The training loop, and evaluation. The iteration is the only clock.

    while iterations are left:
        a row, when one is due    errors since the last row, errors on the test set
        a checkpoint, when one is due
        an advance                one iteration or several: batch i, learning rate i, step
        the end of the warm-up, when the training error says so

Whatever is done, is done between two iterations; a stop asked for at any moment ends in a
checkpoint from which another process goes on to the same bytes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from degradation.config.schema import RunConfig
from degradation.data.loaders import EvalLoader, TrainLoader
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stopped
from degradation.training import checkpoint, layer_stats, optimizer
from degradation.training.devices.distributed import ALONE, Ranks
from degradation.training.devices.engine import Engine
from degradation.training.devices.interleave import Turns
from degradation.training.run_logger import Recorder, Unrecorded
from degradation.training.state import State

SAVE_SHARE = 110
"""A checkpoint is due once so many times the last one's cost have passed: 0.9 % of the time. What
rows cost, and the last save, which is always made, have the rest of one percent."""


@dataclass
class Session:
    """What one process needs to train one point."""

    config: RunConfig
    run: RunDir
    state: State
    stream: TrainLoader
    engine: Engine
    exams: dict[str, EvalLoader]
    """By the prefix of their columns: test, perhaps validation, train for the clean error."""
    recorder: Recorder | Unrecorded
    fingerprint: dict[str, Any]
    stop: Callable[[], bool]
    """Whether to save and leave."""
    layers_every: int = 0
    """Rows between two looks at the layers; 0: none."""
    group: Ranks = ALONE
    """The processes that have a share of each batch."""


def train(session: Session) -> Turns[dict[str, Any]]:
    """Train to the end, or to a loss that is no number; the result (see `store`).

    It pauses after each launch, so that several points can take turns on one device. Raises Stopped
    once everything is saved after `session.stop()` said so.
    """
    state, recipe = session.state, session.config.recipe
    saver = Saver(session)
    look_at_layers(session)
    session.recorder.start(state.iteration)
    while True:
        if recipe.row_at(state.iteration) and int(state.row.seen):
            if state.diverged_at is not None:
                return {"outcome": "diverged", "iteration": state.diverged_at}
            write_row(session, saver)
        if state.iteration == recipe.iterations:
            saver.save()
            return {"outcome": "done", "iteration": state.iteration}
        saver.stop_if_asked()
        saver.save_if_due()
        session.recorder.tick(advance(session))
        yield session.engine.ready


def advance(session: Session) -> int:
    """Iterations, up to the next row or look at the warm-up; for how many it was."""
    state, recipe = session.state, session.config.recipe
    limit = recipe.next_row(state.iteration) - state.iteration
    if state.warmup_end is None:
        limit = min(limit, recipe.warmup_window - state.iteration % recipe.warmup_window)
    count = session.engine.advance(limit)
    if state.warmup_end is None and state.iteration % recipe.warmup_window == 0:
        if state.window.error < recipe.warmup_error:
            state.warmup_end = state.iteration
        state.window.reset()
    return count


def write_row(session: Session, saver: "Saver") -> None:
    """Measure, write, and start the next row's sums."""
    state, config = session.state, session.config
    began = time.monotonic()
    session.engine.note_gradient()
    gradient = float(state.gradient_norm)
    row: dict[str, Any] = {
        "iteration": state.iteration,
        "epoch": round(state.iteration * config.recipe.batch_size / session.stream.num_images, 4),
        "lr": optimizer.learning_rate(
            config.recipe, state.iteration - 1, state.warmup_end, state.plateau.dropped
        ),
        "train_loss": round(state.row.mean_loss, 6),
        "train_error": round(state.row.error, 4),
        "gradient_norm": float(f"{gradient:.6g}") if math.isfinite(gradient) else None,
    }
    for name, exam in session.exams.items():
        if name == "train" and not config.recipe.clean_at(state.iteration):
            continue
        loss, error = evaluate(session, name, exam, saver)
        if name == "train":
            row["train_error_eval"] = error
        else:
            row |= {f"{name}_loss": loss, f"{name}_error": error}
    images = int(state.row.seen)
    state.plateau.see(config.recipe, state.iteration, row["train_error"])
    state.row.reset()
    state.rows += 1
    session.recorder.row(row, images, time.monotonic() - began)
    look_at_layers(session)


def look_at_layers(session: Session) -> None:
    """Measure them on the stream's first batch, which all points of a seed share, where it is due.

    Nothing of the state is touched. What a resumed process measures again is there twice, equal.
    """
    every, state = session.layers_every, session.state
    due = every and state.rows % every == 0 and session.group.writes
    if due and not int(state.row.seen):
        x, labels = session.stream.get_batch(0)
        layers = layer_stats.measure(state.network, x, labels, session.config.numerics.precision)
        layer_stats.note(session.run, state.iteration, layers)


def evaluate(
    session: Session, name: str, exam: EvalLoader, saver: "Saver"
) -> tuple[float | None, float]:
    """Mean loss and error in percent, in eval mode; a stop leaves before the row is written."""
    loss, errors = session.engine.examine(name, exam, saver.stop_if_asked)
    mean = loss / len(exam)
    # Running averages can overflow where no minibatch did: then the loss is null, and a result.
    return round(mean, 6) if math.isfinite(mean) else None, round(100 * errors / len(exam), 4)


class Saver:
    """Saves the state when it is worth its time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cost = 0.0
        self.last = time.monotonic()

    def save(self) -> None:
        """Save, unless the network has diverged: the last finite state is worth keeping."""
        session, began = self.session, time.monotonic()
        if not session.group.writes:
            return
        if session.state.diverged_at is not None or not session.state.finite:
            return
        content = session.state.to_bytes(session.config, session.fingerprint)
        checkpoint.save(session.run.checkpoints, session.state.iteration, content)
        self.last = time.monotonic()
        self.cost = self.last - began

    def save_if_due(self) -> None:
        if time.monotonic() - self.last >= max(SAVE_SHARE * self.cost, 1.0):
            self.save()

    def stop_if_asked(self) -> None:
        if self.session.group.any(self.session.stop()):
            self.save()
            raise Stopped
