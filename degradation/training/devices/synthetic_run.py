"""A run on images of noise, to measure a device or to try it: speed does not depend on the images.

    python -m degradation.training.devices.synthetic_run rate|check REQUEST

`degradation plan` and `degradation doctor` start this process, as they must not import torch
themselves. REQUEST is JSON, and so is the answer, one line on stdout.
"""

import json
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from degradation.config.schema import Machine, Numerics, RunConfig
from degradation.config.validation import ConfigError, read
from degradation.data.dataset import ImageDataset, Split
from degradation.data.device_loader import DeviceLoader, Placement, memory_format
from degradation.training.devices import device as devices
from degradation.training.devices.cuda_graph import capture_for
from degradation.training.devices.engine import Engine
from degradation.training.devices.interleave import Steps, drain, fraction
from degradation.training.state import fresh

ENGINES = {
    "eager": Numerics("fp32", "channels_last", True, graph="off"),
    "native": Numerics("fp32", "channels_last", True, native=True, graph="off"),
    "compiled": Numerics("fp32", "channels_last", True, compiled=True, graph="off"),
    "graph": Numerics("fp32", "channels_last", True, graph="auto"),
    "graph, contiguous": Numerics("fp32", "contiguous", True, graph="auto"),
    "compiled graph": Numerics("fp32", "channels_last", True, compiled=True, graph="auto"),
    "fast": Numerics("bf16", "channels_last", True, compiled=True, graph="auto"),
    "fused": Numerics("bf16", "channels_last", True, fused=True, graph="auto"),
}
"""Every way in which the training step can be carried out, by the name that `bench` gives it."""

RATE_SECONDS = 2.0
CHECK_STEPS = 3


def noise(count: int, side: int = 32, channels: int = 3, classes: int = 10) -> ImageDataset:
    """A data set of `count` images of noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    split = Split(images, rng.integers(0, classes, count, dtype=np.int64))
    return ImageDataset(split, split.part(0, 0), split.part(0, 0), classes, 255)


class SyntheticRun:
    """A run whose first iteration is done: everything is allocated, compiled and captured."""

    def __init__(self, config: RunConfig, images: ImageDataset, device: torch.device) -> None:
        self.config, self.state = config, fresh(config, images, device)
        place = Placement(device, memory_format(config.numerics))
        self.loader = DeviceLoader(images, config, place)
        capture = capture_for(config.numerics.graph, device)
        self.engine = Engine(config.numerics, self.state, device, capture)
        self.train(1)

    def train(self, iterations: int) -> None:
        """Train, and wait for the device."""
        drain(self.steps(iterations))
        self.engine.finish()

    def steps(self, iterations: int) -> Steps[int]:
        """The same as a generator, for several runs at once (see interleave.py)."""
        for _ in range(iterations):
            x, y = self.loader.get_batch(self.state.iteration)
            self.engine.train_step(x, y, self.config.recipe.lr)
            self.state.iteration += 1
            yield self.engine.ready
        return 0


def rate(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a training iteration of request["config"] on its machine, and what was measured.

    `image`: side, channels and classes of its data; `cpu_batch_size`: the batch on a CPU, where a
    whole one may take minutes; `depths`: those of the study, for `runs_at_once`; `until`: when the
    answer is due.
    """
    config, machine, device = _read(request)
    if device.type == "cpu":
        recipe = replace(config.recipe, batch_size=request["cpu_batch_size"])
        config = replace(config, recipe=recipe)
    run = SyntheticRun(config, noise(64, *request["image"]), device)
    at_a_time = 1 if device.type == "cpu" else 32
    count, seconds, start = 0, 0.0, time.monotonic()
    while not count or (seconds < RATE_SECONDS and time.time() < request["until"]):
        run.train(at_a_time)
        count += at_a_time
        seconds = time.monotonic() - start
    return describe(device) | {
        "seconds": seconds / count,
        "batch_size": config.recipe.batch_size,
        "runs_at_once": {
            depth: round(1 / fraction(machine.runs_per_gpu, depth, device))
            for depth in request["depths"]
        },
    }


def check(request: dict[str, Any]) -> dict[str, Any]:
    """What the device is; and on a GPU, whether captured training steps equal launched ones.

    `difference` is the largest one of any parameter: 0 where all bits are equal, null on a CPU.
    """
    config, _, device = _read(request)
    config = replace(config, numerics=replace(config.numerics, graph="off"))
    images = noise(64, *request["image"])
    launched = _trained(config, images, device)
    if device.type == "cpu":
        return describe(device) | {"difference": None}
    config = replace(config, numerics=replace(config.numerics, graph="on"))
    captured = _trained(config, images, device)
    pairs = zip(launched, captured, strict=True)
    return describe(device) | {"difference": max(float((a - b).abs().max()) for a, b in pairs)}


def _trained(config: RunConfig, images: ImageDataset, device: torch.device) -> list[torch.Tensor]:
    """The parameters after a few iterations."""
    run = SyntheticRun(config, images, device)
    run.train(CHECK_STEPS)
    return [parameter.detach() for parameter in run.state.network.parameters()]


def _read(request: dict[str, Any]) -> tuple[RunConfig, Machine, torch.device]:
    config = read(RunConfig, request["config"])
    machine = read(Machine, request["machine"], "machine")
    return config, machine, devices.apply(machine, config.numerics)


def describe(device: torch.device) -> dict[str, Any]:
    """The device in words and numbers; `memory` in bytes, null for a CPU."""
    described: dict[str, Any] = {"device": str(device), "torch": torch.__version__}
    if device.type == "cpu":
        return described | {"name": "a CPU core", "memory": None}
    properties = torch.cuda.get_device_properties(device)
    return described | {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "bf16": torch.cuda.is_bf16_supported(),
        "triton": find_spec("triton") is not None,
    }


def main(arguments: list[str]) -> int:
    """Answer one request; 2 where it is refused."""
    what, request = arguments
    try:
        print(json.dumps({"rate": rate, "check": check}[what](json.loads(request))))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
