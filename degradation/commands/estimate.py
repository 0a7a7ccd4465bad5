"""What a run costs: counted from its network, or by the line through depths that were tried.

Time and memory of an iteration grow linearly with depth, nothing else being changed (R² above 0.99
from 20 to 1,202 layers; `bench` measures it). So two shallow networks of a kind, tried for a few
seconds (`trial`), tell what the deep ones cost. It needs no torch.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from degradation.config.schema import RunConfig
from degradation.models import cost

TRIED_UP_TO = 56  # layers; deeper ones would take longer to try than the estimate is worth
SHALLOW = (20, 56)  # tried in the place of deeper ones
CHECKPOINTS = 2  # that stay
ROW, TENSOR, FOLDER = 450, 110, 6000  # bytes: a row of all files, a tensor's name, the small files
FLOAT, LONG = 4, 8


@dataclass(frozen=True)
class Shape:
    """A data set in numbers."""

    side: int
    channels: int
    classes: int
    train: int
    test: int
    clean: int
    """Training images that measure the clean error, at most."""


SHAPES = {
    "cifar10": Shape(32, 3, 10, 50_000, 10_000, 50_000),
    "digits": Shape(8, 1, 10, 1438, 359, 1438),
    "imagenet": Shape(224, 3, 1000, 1_281_167, 50_000, 50_000),
}


def work(config: RunConfig) -> cost.Work:
    """Operations and parameters of a run's network."""
    shape, model = SHAPES[config.data.name], config.model
    return cost.work(
        config.depth, shape.side, shape.channels, model.width, shape.classes, model.shortcut,
        model.design, model.stride_in_1x1,
    )  # fmt: skip


def training_operations(config: RunConfig, iterations: int) -> float:
    """Floating-point operations of `iterations` training steps, two a multiply-add."""
    return work(config).training * config.recipe.batch_size * iterations


def disk(config: RunConfig) -> float:
    """Bytes of a finished run's folder, without what W&B keeps."""
    one = work(config)
    momenta_too = 2 * one.parameters + 2 * one.normalised
    tensors = 6 * one.convolutions + one.convolutions + 4  # parameters, momenta, averages, counts
    checkpoint = FLOAT * momenta_too + LONG * one.convolutions + TENSOR * tensors
    rows = config.recipe.iterations / config.recipe.eval_every + len(config.recipe.milestones)
    return CHECKPOINTS * checkpoint + ROW * rows + FOLDER


def examined(config: RunConfig, done: int) -> int:
    """Images that are looked at in eval mode from iteration `done` to the end."""
    shape, recipe = SHAPES[config.data.name], config.recipe
    dues = {*range(recipe.eval_every, recipe.iterations + 1, recipe.eval_every)}
    dues |= {*recipe.milestones, recipe.iterations}
    left = [due for due in dues if due > done]
    held_out = config.data.val_size
    clean = sum(map(recipe.clean_at, left))
    return len(left) * (shape.test + held_out) + clean * min(shape.train - held_out, shape.clean)


@dataclass(frozen=True)
class Trial:
    """What a few iterations of one network took."""

    depth: int
    iteration: float
    """Seconds, of one run; of several that shared the device, their time over their number."""
    image: float
    """Seconds of a image in an exam."""
    memory: float
    """Bytes of one point."""


@dataclass(frozen=True)
class Cost:
    """What is left to do of a point."""

    seconds: float
    memory: float


class Lines:
    """Time and memory by depth, of each kind of network that was tried."""

    def __init__(self, trials: Mapping[str, Sequence[Trial]], start: float) -> None:
        """`trials` by kind; `start`: seconds until a process does its first iteration."""
        self.trials, self.start = trials, start

    def cost(self, config: RunConfig, done: int) -> Cost | None:
        """Of `run` from iteration `done` on; None where its kind was not tried."""
        if not (tried := self.trials.get(kind(config))):
            return None

        def at(values: list[float]) -> float:
            return along([t.depth for t in tried], values, config.depth)

        iterations = config.recipe.iterations - done
        seconds = (
            iterations * at([t.iteration for t in tried])
            + examined(config, done) * at([t.image for t in tried])
            + (self.start if iterations else 0)
        )
        return Cost(seconds, at([t.memory for t in tried]))


def along(depths: Sequence[int], values: Sequence[float], depth: int) -> float:
    """The line through the first and the last of `values`, at `depth`; never below zero."""
    (x, *_, z), (a, *_, b) = (*depths, depths[-1]), (*values, values[-1])
    slope = (b - a) / (z - x) if z != x else a / x
    return max(0.0, a + slope * (depth - x))


def kind(config: RunConfig) -> str:
    """A key of all that decides an iteration's cost beside depth."""
    recipe = dataclasses.replace(
        config.recipe, iterations=1, milestones=(), lr=1.0, eval_every=1, warmup_min_depth=None
    )
    data = dataclasses.replace(config.data, val_size=0)
    same = dataclasses.replace(config, recipe=recipe, data=data).protocol
    # ImageNet's depths lie on no line: their stages differ.
    own = config.depth if config.model.design == "imagenet" else "any"
    return f"{same} {config.model.shortcut} {own}"


def to_try(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """The points to try: of each kind its least and its greatest depth, or shallower ones."""
    depths, of_kind = defaultdict(set), {}
    for config in configs:
        depths[kind(config)].add(config.depth)
        of_kind[kind(config)] = config
    return [
        dataclasses.replace(of_kind[name], depth=depth)
        for name, found in depths.items()
        for depth in (found if of_kind[name].model.design == "imagenet" else tried_depths(found))
    ]


def tried_depths(depths: Iterable[int]) -> list[int]:
    """Of a kind: one depth alone is tried itself; two give the line for all others."""
    wanted = sorted(depths)
    if len(wanted) == 1 and wanted[0] <= TRIED_UP_TO:
        return wanted
    shallow = [d for d in wanted if d <= TRIED_UP_TO]
    return [shallow[0], shallow[-1]] if len(shallow) > 1 else sorted({*SHALLOW, *shallow})
