"""One network, trained by every engine and by common practice, in alternating rounds."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import torch
from torch.nn import functional

from degradation.bench import clock, practice, roof
from degradation.config.schema import RunConfig
from degradation.data.dataset import ImageDataset
from degradation.models import cost
from degradation.training.devices import interleave
from degradation.training.synthetic_run import ENGINES, Ours, tensors_of, wait

PRACTICE, CACHED = "practice", "practice, batches ready"
SAME = 1e-4  # greatest difference of two losses that come from the same work


@dataclass(frozen=True)
class Plan:
    """What is compared on a device, and how long."""

    device: torch.device
    engines: tuple[str, ...]
    """Names of ENGINES."""
    packs: tuple[tuple[str, int], ...]
    """Engines with several points at once."""
    workers: tuple[int, ...]
    """Processes of common practice's loader, one contestant each."""
    iterations: int
    """Of a measurement; 0 in a plan of several networks, where their depths say how many."""
    rounds: int = 5


@dataclass(frozen=True)
class Result:
    """A line of the table."""

    arm: str
    depth: int
    contestant: str
    images_per_second: float
    ratio: tuple[float, float, float]
    """To common practice with its (first) loader: median, least and greatest of the rounds."""
    roof: float
    """Part of the machine's roof: of arithmetic or of traffic, whichever is lower."""
    first_step: float
    """Seconds from nothing to the end of the first iteration."""
    memory: float
    """Bytes: on a GPU the most it held, on a CPU the tensors an iteration needs."""


def contest(
    config: RunConfig, plan: Plan, machine: roof.Machine, images: ImageDataset
) -> list[Result]:
    """Every contestant on `run`'s network. Raises AssertionError if they don't do the same."""
    device = plan.device
    for name in {"eager", "native"} & {"eager", *plan.engines}:
        check_same_work(replace(config, numerics=ENGINES[name]), images, device)
    entries = {name: _enter(make, device) for name, make in _makers(config, plan, images).items()}
    took = clock.rounds({name: e.work for name, e in entries.items()}, plan.rounds, device)
    images_a_round = plan.iterations * config.recipe.batch_size
    results = []
    for name, entry in entries.items():
        each = [seconds / entry.configs for seconds in took[name]]
        rate = images_a_round / statistics.median(each)
        fast = name.startswith("fast")
        ceiling = machine.rate(
            cost.work(config.depth), config.arm, fast or "compiled" in name, 2 if fast else 4
        )
        memory = entry.memory if device.type == "cuda" else tensors_of(config)
        results.append(Result(config.arm, config.depth, name, rate,
                              clock.ratio(took[PRACTICE], each), rate / ceiling,
                              entry.first_step, memory))  # fmt: skip
    return results


@dataclass(frozen=True)
class Entry:
    """A contestant, ready to start."""

    work: clock.Work
    configs: int
    """At once."""
    first_step: float
    memory: float


Maker = Callable[[], tuple[clock.Work, int, float]]
"""Gives the work of a round, the points at once, and the seconds to the first iteration's end."""


def _makers(config: RunConfig, plan: Plan, images: ImageDataset) -> dict[str, Maker]:
    """Every contestant by name."""
    makers: dict[str, Maker] = {}
    for workers in plan.workers:
        name = f"{PRACTICE}, {workers} workers" if makers else PRACTICE
        makers[name] = partial(_practice, config, plan, images, workers)
    makers[CACHED] = partial(_practice, config, plan, images, None)
    makers |= {name: partial(_ours, config, plan, images, name, 1) for name in plan.engines}
    for name, count in plan.packs:
        makers[f"{name} ×{count}"] = partial(_ours, config, plan, images, name, count)
    return makers


def _enter(make: Maker, device: torch.device) -> Entry:
    _forget(device)
    before = _held(device)
    work, configs, first_step = make()
    return Entry(work, configs, first_step, _held(device) - before)


def _practice(
    config: RunConfig, plan: Plan, images: ImageDataset, workers: int | None
) -> tuple[clock.Work, int, float]:
    """Common practice; without `workers`, with its batches ready on the device."""
    began = time.monotonic()
    train, size = images.train, config.recipe.batch_size
    batches = practice.loader(train.images, train.labels, size, workers or 0)
    if workers is None:
        batches = cycle([(x.to(plan.device), y.to(plan.device)) for x, y in islice(batches, 4)])
    network = practice.ResNet(config.depth, config.arm == "residual")
    loop = practice.Loop(network, batches, plan.device)
    loop.run(1)
    return partial(loop.run, plan.iterations), 1, time.monotonic() - began


def _ours(
    config: RunConfig, plan: Plan, images: ImageDataset, name: str, count: int
) -> tuple[clock.Work, int, float]:
    """`count` points on the engine `name`, by turns."""
    began = time.monotonic()
    configs = [replace(config, numerics=ENGINES[name], seed=seed) for seed in range(count)]
    ours = [Ours(one, images, plan.device) for one in configs]

    def work() -> None:
        interleave.take_turns([(one.turns(plan.iterations), 1 / count) for one in ours])

    return work, count, time.monotonic() - began


def check_same_work(config: RunConfig, images: ImageDataset, device: torch.device) -> None:
    """Equal parameters, and the same loss from the same weights on the same batch.

    The kernels of `native` are held to the loss in double precision: torch's rounding in float32
    alone moves that of plain-56 by more than SAME.
    """
    ours = Ours(config, images, device)
    theirs = practice.ResNet(config.depth, config.arm == "residual").to(device)
    mine, other = (list(net.parameters()) for net in (ours.state.network, theirs))
    assert [p.shape for p in mine] == [p.shape for p in other], "other networks"
    x, labels = ours.stream.get_batch(0)
    with torch.no_grad():
        for target, source in zip(other, mine, strict=True):
            target.copy_(source)
        loss = functional.cross_entropy(ours.state.network(x), labels)
        if config.numerics.native:
            theirs, x = theirs.double(), x.double()
        losses = [loss, functional.cross_entropy(theirs(x), labels)]
    assert abs(float(losses[0] - losses[1])) < SAME, f"other losses: {losses}"


def _held(device: torch.device) -> float:
    if device.type != "cuda":
        return 0.0
    wait(device)
    return float(torch.cuda.memory_reserved(device))


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
