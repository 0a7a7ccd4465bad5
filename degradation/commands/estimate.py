"""What a run costs, counted from its settings: operations, memory and disk. It needs no torch."""

from typing import NamedTuple

from degradation.config.schema import RunConfig
from degradation.models import cost

CHECKPOINTS = 2  # the newest two stay
LOG_ROW = 450  # bytes of a row in curves.jsonl and timing.jsonl together


class Shape(NamedTuple):
    """A data set in numbers."""

    side: int
    channels: int
    classes: int
    train: int
    test: int


SHAPES = {
    "cifar10": Shape(32, 3, 10, 50_000, 10_000),
    "digits": Shape(8, 1, 10, 1438, 359),
    "imagenet": Shape(224, 3, 1000, 1_281_167, 50_000),
}
TRAIN_EVAL = 50_000  # training images that are evaluated for `train_error_eval`, at most


def work(config: RunConfig) -> cost.Work:
    """Operations, activations and parameters of a run's network, for one image."""
    return cost.work(config.model, config.depth, *SHAPES[config.data.name][:3])


def iteration_flops(config: RunConfig) -> float:
    """Floating-point operations of a training iteration; a multiply-add counts as two."""
    return work(config).training * config.recipe.batch_size


def remaining_flops(config: RunConfig, done: int) -> float:
    """Operations of everything behind iteration `done`: training and evaluation."""
    iterations = config.recipe.iterations - done
    evaluation = evaluated_images(config, done) * work(config).operations
    return iterations * iteration_flops(config) + evaluation


def evaluated_images(config: RunConfig, done: int) -> int:
    """Images that are evaluated behind iteration `done`."""
    shape, recipe, val_size = SHAPES[config.data.name], config.recipe, config.data.val_size
    due = {*range(recipe.eval_every, recipe.iterations + 1, recipe.eval_every)}
    due |= {*recipe.milestones, recipe.iterations}
    rows = [iteration for iteration in due if iteration > done]
    with_train = sum(map(recipe.evaluates_train_at, rows))
    train = min(shape.train - val_size, TRAIN_EVAL)
    return len(rows) * (shape.test + val_size) + with_train * train


def memory(config: RunConfig) -> float:
    """Bytes that a training iteration needs at least (see `cost.Work.memory`)."""
    bytes_each = 2 if config.numerics.precision == "bf16" else 4
    return work(config).memory(config.recipe.batch_size, bytes_each)


def disk(config: RunConfig) -> float:
    """Bytes of a finished run's folder: float32 parameters and momenta, and the log rows."""
    rows = config.recipe.iterations / config.recipe.eval_every
    return CHECKPOINTS * 2 * 4 * work(config).parameters + LOG_ROW * rows
