"""A run on images of noise, for whoever measures speed or memory: neither depends on the images."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from degradation.config.schema import Numerics, RunConfig
from degradation.data.dataset import ImageDataset, Split
from degradation.data.device_loader import DeviceLoader
from degradation.training.devices import engine as engines
from degradation.training.devices import interleave
from degradation.training.devices.engine import Engine
from degradation.training.state import State, fresh

ENGINES = {
    "eager": Numerics("fp32", "channels_last", True, compiled=False, graph="off"),
    "native": Numerics("fp32", "channels_last", True, native=True, graph="off"),
    "compiled": Numerics("fp32", "channels_last", True, compiled=True, graph="off"),
    "graph": Numerics("fp32", "channels_last", True, compiled=False, graph="auto"),
    "compiled graph": Numerics("fp32", "channels_last", True, compiled=True, graph="auto"),
    "fast": Numerics("bf16", "channels_last", True, compiled=True, graph="auto"),
}


def synthetic(count: int = 10_000, side: int = 32, channels: int = 3) -> ImageDataset:
    """Images of noise: speed doesn't depend on what is on them."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    split = Split(images, rng.integers(0, 10, count, dtype=np.int64))
    return ImageDataset(split, split.part(0, 0), split.part(0, 1000), 10, 255)


class Ours:
    """One run on one engine, its first iteration done."""

    def __init__(self, config: RunConfig, images: ImageDataset, device: torch.device) -> None:
        self.state: State = fresh(config, images, device)
        self.stream = DeviceLoader(images, config.data, config.seed, config.recipe.batch_size, device)
        record = engines.record_for(config.numerics.graph, device)
        self.engine = Engine(config, self.state, self.stream, record)
        self.run(1)
        wait(device)

    def run(self, iterations: int) -> None:
        interleave.finish(self.turns(iterations))

    def turns(self, iterations: int) -> interleave.Turns[int]:
        left = iterations
        while left:
            left -= self.engine.advance(left)
            yield self.engine.ready
        return 0


def tensors_of(config: RunConfig, side: int = 32, channels: int = 3) -> float:
    """Bytes an iteration needs: parameters, gradients, momenta, what forward keeps for backward.

    Counted on two images, for which forward keeps a fraction of what it does for a batch.
    """
    few = replace(config, numerics=ENGINES["eager"])
    state = fresh(few, synthetic(4, side, channels), torch.device("cpu"))
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in state.network.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = state.network(
            torch.zeros(2, channels, side, side).to(memory_format=torch.channels_last)
        )
    del logits
    activations = sum(size for place, size in kept.items() if place not in own)
    parameters = sum(p.nbytes for p in state.network.parameters())
    return 3 * parameters + activations * config.recipe.batch_size / 2


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
