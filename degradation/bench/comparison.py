"""One network, trained by every engine and by the baseline, in alternating rounds."""

import copy
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import torch
from torch.nn import functional

from degradation.bench import baseline, timing
from degradation.bench.roof import DTYPES, Roof
from degradation.config.schema import Machine, Numerics, RunConfig, Settings
from degradation.data.dataset import ImageDataset
from degradation.models import cost
from degradation.training.devices import device as devices
from degradation.training.devices import interleave
from degradation.training.devices.synthetic_run import ENGINES, SyntheticRun

BASELINE, BATCHES_READY = "baseline", "baseline, batches ready"
SAME_LOSS = 1e-4  # greatest difference from the loss in float64 that rounding explains
# Rounding grows with depth: residual-110 differs by 7e-4 in float32; 20 layers by 3e-6, and with
# TF32 by 2e-5.
CHECKED_DEPTH = 20


@dataclass(frozen=True)
class Plan:
    """What is compared, and how long."""

    engines: tuple[tuple[str, int], ...]
    """Names of ENGINES, each with the number of runs at once."""
    workers: tuple[int, ...]
    """Processes of the baseline's loader, a contestant each."""
    iterations: int
    """Of a round."""
    rounds: int = 5


@dataclass(frozen=True)
class Result:
    """A line of the table."""

    arm: str
    depth: int
    contestant: str
    images_per_second: float
    ratio: tuple[float, float, float]
    """To the baseline with its (first) loader: median, least and greatest of the rounds."""
    roof: float
    """Fraction of what the device could do."""
    first_step: float
    """Seconds from nothing to the end of the first iteration."""
    memory: float
    """Bytes of one run: on a GPU what it reserved, on a CPU what is counted (models/cost.py)."""


@dataclass
class Contestant:
    """One way to train a network."""

    numerics: Numerics | None
    """None: torch's defaults, as the baseline has them."""
    make: Callable[[], timing.Work]
    """Allocates, trains one iteration, and gives the work of a round."""
    runs: int = 1
    """That train at once."""

    @property
    def precision(self) -> str:
        return self.numerics.precision if self.numerics else "fp32"

    @property
    def kernels(self) -> str:
        """Those of a layer, as a key of cost.PASSES."""
        if self.numerics is None:
            return "torch"
        return "compiled" if self.numerics.compiled else "fused" if self.numerics.fused else "torch"

    def use_settings(self, machine: Machine) -> None:
        """Set torch and the device, process-wide, to what this contestant trains with."""
        if self.numerics is None:
            baseline.use_torch_defaults()
        else:
            devices.apply(machine, self.numerics)

    def prepare(self, machine: Machine, device: torch.device) -> None:
        """Train the first iteration, at whose end nothing is left to the device; note its cost."""
        gc.collect()
        before, start = _reserved(device), time.monotonic()
        self.use_settings(machine)
        train = self.make()
        self.first_step = time.monotonic() - start
        self.memory = (_reserved(device) - before) / self.runs

        def work() -> None:
            self.use_settings(machine)
            train()

        self.work: timing.Work = work


def compare(
    settings: Settings, plan: Plan, roofs: Mapping[str, Roof], images: ImageDataset
) -> list[Result]:
    """Every contestant on one network; `roofs` by precision.

    Raises AssertionError where they do not do the same work.
    """
    config, machine = settings.config, settings.machine
    device = devices.apply(machine, config.numerics)
    for name, _ in plan.engines:
        if not ENGINES[name].compiled:  # compilation takes long, and changes rounding alone
            # In float32: a bfloat16 engine's rounding, and its TF32, would exceed SAME_LOSS.
            numerics = replace(ENGINES[name], precision="fp32")
            check_same_work(replace(config, numerics=numerics), machine, images)
    contestants = _contestants(config, plan, images, device)
    for one in contestants.values():
        one.prepare(machine, device)
    works = {name: one.work for name, one in contestants.items()}
    took = timing.alternate(works, plan.rounds, device)
    images_a_round = plan.iterations * config.recipe.batch_size
    work, results = cost.work(config.model, config.depth), []
    for name, one in contestants.items():
        each = [seconds / one.runs for seconds in took[name]]
        rate, ratio = images_a_round / statistics.median(each), timing.ratio(took[BASELINE], each)
        roof = rate / roofs[one.precision].images_per_second(work, config.arm, one.kernels)
        size = DTYPES[one.precision].itemsize
        memory = one.memory or work.memory(config.recipe.batch_size, size)
        results.append(
            Result(config.arm, config.depth, name, rate, ratio, roof, one.first_step, memory)
        )
    return results


def _reserved(device: torch.device) -> float:
    """Bytes that torch holds of a GPU; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return float(torch.cuda.memory_reserved(device))


def _contestants(
    config: RunConfig, plan: Plan, images: ImageDataset, device: torch.device
) -> dict[str, Contestant]:
    """By name, in the order of the table."""
    contestants: dict[str, Contestant] = {}
    for workers in (*plan.workers, None):
        name = f"{BASELINE}, {workers} workers" if contestants else BASELINE
        make = partial(_baseline, config, plan, images, device, workers)
        contestants[name if workers is not None else BATCHES_READY] = Contestant(None, make)
    for name, count in plan.engines:
        own = replace(config, numerics=ENGINES[name])
        label = name if count == 1 else f"{name} ×{count}"
        make = partial(_engine, own, plan, images, device, count)
        contestants[label] = Contestant(own.numerics, make, count)
    return contestants


def _baseline(
    config: RunConfig, plan: Plan, images: ImageDataset, device: torch.device, workers: int | None
) -> timing.Work:
    """The baseline's loop; without `workers`, with four batches that lie on the device."""
    train = images.train
    batches = baseline.loader(train.images, train.labels, config.recipe.batch_size, workers or 0)
    if workers is None:
        batches = cycle([(x.to(device), y.to(device)) for x, y in islice(batches, 4)])
    network = baseline.ResNet(config.depth, config.arm == "residual")
    loop = baseline.Loop(network, batches, device)
    loop.train(1)
    return partial(loop.train, plan.iterations)


def _engine(
    config: RunConfig, plan: Plan, images: ImageDataset, device: torch.device, count: int
) -> timing.Work:
    """`count` runs at once."""
    runs = [SyntheticRun(replace(config, seed=seed), images, device) for seed in range(count)]

    def work() -> None:
        interleave.interleave([(run.steps(plan.iterations), 1 / count) for run in runs], device)

    return work


def check_same_work(config: RunConfig, machine: Machine, images: ImageDataset) -> None:
    """Both sides have equal parameters and, from the same weights and batch, the loss in float64.

    A network of at most CHECKED_DEPTH layers is built for it. Raises AssertionError.
    """
    config = replace(config, depth=min(config.depth, CHECKED_DEPTH))
    device = devices.apply(machine, config.numerics)
    ours = SyntheticRun(config, images, device)
    theirs = baseline.ResNet(config.depth, config.arm == "residual").to(device)
    mine, other = (list(net.parameters()) for net in (ours.state.network, theirs))
    assert [p.shape for p in mine] == [p.shape for p in other], "other networks"
    x, labels = ours.loader.get_batch(0)
    with torch.no_grad():
        for target, source in zip(other, mine, strict=True):
            target.copy_(source)
        exact = functional.cross_entropy(copy.deepcopy(theirs).double()(x.double()), labels)
        for side, network in (("ours", ours.state.network), ("the baseline's", theirs)):
            loss = functional.cross_entropy(network(x), labels)
            difference = float(abs(loss.double() - exact))
            assert difference < SAME_LOSS, f"another loss: {side} is {difference:.1e} off float64"
