"""The training loop, and evaluation. The iteration is the only clock.

    while iterations are left:
        a row, when one is due    errors since the last row, errors on the test set
        a checkpoint, when one is due
        a step                    batch i, learning rate i
        the end of the warm-up, when the training error says so

Whatever is done, is done between two iterations; a stop asked for at any moment ends in a
checkpoint from which another process goes on to the same bytes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import get_total_norm

from degradation import checkpoint, network, optim
from degradation.data.batches import Exam, Stream
from degradation.data.pictures import Pictures
from degradation.recorder import Recorder
from degradation.signals import Stopped
from degradation.spec import Point
from degradation.step import FINE, Meters, forward, training_step
from degradation.store import Run

SAVE_SHARE = 100  # a checkpoint is due once 100 times the last one's cost has passed: 1 % at most


@dataclass
class State:
    """All that training changes; what is equal here goes on equally."""

    network: nn.Module
    optimizer: torch.optim.SGD
    row: Meters
    """Since the last row."""
    window: Meters
    """Since the last look at the warm-up's condition."""
    iteration: int = 0
    warmup_end: int | None = None
    rows: int = 0

    @property
    def diverged_at(self) -> int | None:
        """The first iteration whose loss was no number; waits for the device."""
        first = int(self.row.diverged)
        return None if first == FINE else first

    @property
    def finite(self) -> bool:
        """Whether all parameters are numbers; one iteration later the loss would tell."""
        largest = get_total_norm(self.network.parameters(), math.inf)
        return bool(largest.isfinite())

    @property
    def size(self) -> int:
        """Bytes of a checkpoint, nearly."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, as it is saved: the network's own names, then the others'."""
        momenta = optim.momenta(self.network, self.optimizer)
        return {
            **{f"network.{name}": tensor for name, tensor in self.network.state_dict().items()},
            **{f"momentum.{name}": tensor for name, tensor in momenta.items()},
            **self.row.tensors("row"),
            **self.window.tensors("window"),
        }

    def to_bytes(self, point: Point, fingerprint: dict[str, Any]) -> bytes:
        meta = {
            "point": point.name,
            "fingerprint": fingerprint,
            "iteration": self.iteration,
            "warmup_end": self.warmup_end,
            "rows": self.rows,
        }
        return checkpoint.encode(self.tensors(), meta)

    def load(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Become what `to_bytes` was. Raises checkpoint.Damaged where names or shapes differ."""
        own = self.tensors()
        for name in sorted({*own, *tensors}):
            mine, theirs = (t[name].shape if name in t else None for t in (own, tensors))
            if mine != theirs:
                raise checkpoint.Damaged(
                    f"{name} has shape {theirs} in the checkpoint, {mine} here"
                )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.iteration, self.rows = meta["iteration"], meta["rows"]
        self.warmup_end = meta["warmup_end"]


def fresh(point: Point, pictures: Pictures, device: torch.device) -> State:
    """The state before the first iteration."""
    channels = pictures.train.pictures.shape[-1]
    net = network.build(
        point.model, point.depth, channels, pictures.classes, point.seed, point.recipe.init
    )
    channels_last = point.numerics.layout == "channels_last"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    warmup_end = None if optim.warms_up(point.recipe, point.depth) else 0
    return State(
        net, optim.build(net, point.recipe), Meters.new(device), Meters.new(device),
        warmup_end=warmup_end,
    )  # fmt: skip


@dataclass
class Session:
    """What one process needs to train one point."""

    point: Point
    run: Run
    state: State
    stream: Stream
    exams: dict[str, Exam]
    """By the prefix of their columns: test, perhaps validation, train for the clean error."""
    recorder: Recorder
    fingerprint: dict[str, Any]
    stop: Callable[[], bool]
    """Whether to save and leave."""


def train(session: Session) -> dict[str, Any]:
    """Train to the end, or to a loss that is no number; the result (see `store`).

    Raises Stopped once everything is saved after `session.stop()` said so.
    """
    state, recipe = session.state, session.point.recipe
    saver = Saver(session)
    session.recorder.start(state.iteration)
    while True:
        if recipe.row_at(state.iteration) and int(state.row.seen):
            if state.diverged_at is not None:
                return {"outcome": "diverged", "iteration": state.diverged_at}
            write_row(session, saver)
        if state.iteration == recipe.iterations:
            saver.save()
            return {"outcome": "done", "iteration": state.iteration}
        if session.stop():
            saver.stop()
        saver.save_if_due()
        step(session)
        session.recorder.tick()


def step(session: Session) -> None:
    """One iteration."""
    state, recipe = session.state, session.point.recipe
    x, labels = session.stream.at(state.iteration)
    rate = optim.learning_rate(recipe, state.iteration, state.warmup_end)
    optim.set_learning_rate(state.optimizer, rate)
    loss, logits = training_step(
        state.network, state.optimizer, x, labels, session.point.numerics.precision
    )
    state.row.add(state.iteration, loss, logits, labels)
    if state.warmup_end is None:
        state.window.add(state.iteration, loss, logits, labels)
    state.iteration += 1
    if state.warmup_end is None and state.iteration % recipe.warmup_window == 0:
        if state.window.error < recipe.warmup_error:
            state.warmup_end = state.iteration
        state.window.reset()


def write_row(session: Session, saver: "Saver") -> None:
    """Measure, write, and start the next row's sums."""
    state, point = session.state, session.point
    began = time.monotonic()
    row: dict[str, Any] = {
        "iteration": state.iteration,
        "epoch": round(state.iteration * point.recipe.batch / session.stream.length, 4),
        "lr": optim.learning_rate(point.recipe, state.iteration - 1, state.warmup_end),
        "train_loss": round(state.row.mean_loss, 6),
        "train_error": round(state.row.error, 4),
    }
    for name, exam in session.exams.items():
        if name == "train" and not point.recipe.clean_at(state.iteration):
            continue
        loss, error = evaluate(session, exam, saver)
        if name == "train":
            row["train_error_clean"] = error
        else:
            row |= {f"{name}_loss": loss, f"{name}_error": error}
    pictures = int(state.row.seen)
    state.row.reset()
    state.rows += 1
    session.recorder.row(row, pictures, time.monotonic() - began)


@torch.no_grad()
def evaluate(session: Session, exam: Exam, saver: "Saver") -> tuple[float | None, float]:
    """Mean loss and error in percent, in eval mode; a stop leaves before the row is written."""
    network, precision = session.state.network, session.point.numerics.precision
    network.eval()
    try:
        loss = torch.zeros((), dtype=torch.float64, device=exam.labels.device)
        errors = torch.zeros((), dtype=torch.int64, device=exam.labels.device)
        for x, labels in exam:
            if session.stop():
                saver.stop()
            logits = forward(network, x, precision)
            loss += functional.cross_entropy(logits, labels, reduction="sum").double()
            errors += (logits.argmax(1) != labels).sum()
    finally:
        network.train()
    mean = float(loss) / len(exam)
    # Running averages can overflow where no minibatch did: then the loss is null, and a result.
    return round(mean, 6) if math.isfinite(mean) else None, round(100 * int(errors) / len(exam), 4)


class Saver:
    """Saves the state when it is worth its time."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cost = 0.0
        self.last = time.monotonic()

    def save(self) -> None:
        """Save, unless the network has diverged: the last finite state is worth keeping."""
        session, began = self.session, time.monotonic()
        if session.state.diverged_at is not None or not session.state.finite:
            return
        content = session.state.to_bytes(session.point, session.fingerprint)
        checkpoint.save(session.run.checkpoints, session.state.iteration, content)
        self.last = time.monotonic()
        self.cost = self.last - began

    def save_if_due(self) -> None:
        if time.monotonic() - self.last >= max(SAVE_SHARE * self.cost, 1.0):
            self.save()

    def stop(self) -> None:
        self.save()
        raise Stopped
