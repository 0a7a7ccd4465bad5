"""Initial tensors: a function of (seed, parameter name, shape) alone.

So the two arms, and networks of two depths, start from equal tensors wherever they have the same
parameter. Weights are drawn as `recipe.init` names it: normal with variance 2 / fan (He et al.
2015b) by default.
"""

import hashlib
import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from degradation.config.schema import Model
from degradation.models.layers import BatchNorm
from degradation.models.resnet import Network


def build(model: Model, depth: int, channels: int, classes: int, seed: int, init: str) -> Network:
    """A network with its initial tensors, which replace those that torch draws for it."""
    network = Network(model, depth, channels, classes)
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            digest = hashlib.sha256(f"init {seed} {name}.weight".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
            initialize(module.weight, init, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def initialize(weight: Tensor, init: str, generator: torch.Generator) -> None:
    """Draw a weight, (outputs, inputs, …), as `recipe.init` names it; each fits a ReLU."""
    if init in ("fan_in", "fan_out"):
        mode = cast(Literal["fan_in", "fan_out"], init)
        nn.init.kaiming_normal_(weight, mode=mode, nonlinearity="relu", generator=generator)
    elif init == "orthogonal" or weight.ndim == 2:
        nn.init.orthogonal_(weight, gain=math.sqrt(2), generator=generator)
    else:
        _delta_orthogonal(weight, generator)


@torch.no_grad()
def _delta_orthogonal(weight: Tensor, generator: torch.Generator) -> None:
    """An orthogonal matrix in the kernel's center, and zeros around it."""
    nn.init.zeros_(weight)
    center = torch.empty(weight.shape[:2])
    nn.init.orthogonal_(center, gain=math.sqrt(2), generator=generator)
    weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = center
