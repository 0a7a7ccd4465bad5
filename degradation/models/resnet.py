"""One network for both arms: plain and residual differ in `shortcut` alone.

    first conv | stages of blocks, each stage with maps of half the side and twice the filters |
    global average pool | linear

Which layers there are at a depth is the design's to say (design.py). Batch normalisation stands
after each conv and before the activation. With option A both arms have the same parameter names,
shapes and initial tensors.
"""

import hashlib
import math
from collections import OrderedDict
from typing import Literal, cast

import torch
from torch import Tensor, nn

from degradation.config.architecture import units
from degradation.config.schema import Model
from degradation.models.blocks import (
    Block,
    Bottleneck,
    Scaled,
    normalisation,
)
from degradation.models.layers import (
    BatchNorm,
    Conv3x3,
    MaxPool,
    rectified,
)

Fan = Literal["fan_in", "fan_out"]


class Network(nn.Module):
    """A network of `depth` weighted layers for images of `channels` planes.

    Input: (batch, channels, height, width), height and width multiples of 4 (CIFAR-10) or 32
    (ImageNet). Output: (batch, classes) logits. Raises ConfigError for a depth that its design doesn't
    have.
    """

    def __init__(self, model: Model, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        self.pool: nn.Module
        if model.design == "imagenet":
            self.conv: nn.Conv2d = nn.Conv2d(channels, model.width, 7, 2, padding=3, bias=False)
            self.pool = MaxPool()
        else:
            self.conv = Conv3x3(channels, model.width)
            self.pool = nn.Identity()
        self.norm = normalisation(model, model.width)
        blocks, features = OrderedDict[str, nn.Module](), model.width
        for unit in units(model.design, depth, model.width):
            kind = Bottleneck if unit.is_bottleneck else Block
            blocks[unit.name] = kind(model, unit)
            features = unit.outputs
        self.blocks = nn.Sequential(blocks)
        self.linear = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last block's maps, (batch, planes, height, width)."""
        x = self.pool(rectified(self.norm, self.conv(x)))
        maps: Tensor = self.blocks(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        # A mean: deterministic on GPUs, unlike the pool.
        logits: Tensor = self.linear(self.features(x).mean((2, 3)))
        return logits


def build(model: Model, depth: int, channels: int, classes: int, seed: int, init: str) -> Network:
    """A network with its initial tensors: a function of (seed, parameter name, shape) alone.

    So the two arms, and networks of two depths, start from equal tensors wherever they have the
    same parameter. Weights: normal, variance 2 / fan (He et al. 2015b), `init` naming the fan.
    """
    network = Network(model, depth, channels, classes)  # what torch draws for it is thrown away
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            generator = torch.Generator().manual_seed(_seed(seed, f"{name}.weight"))
            initialise(module.weight, init, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, Scaled) and isinstance(module.alpha, nn.Parameter):
            nn.init.constant_(module.alpha, module.start)
    return network


def initialise(weight: Tensor, init: str, generator: torch.Generator) -> None:
    """Draw a weight, (outputs, inputs, …), as `Recipe.init` names it; each fits a ReLU."""
    if init in ("fan_in", "fan_out"):
        mode = cast(Fan, init)
        nn.init.kaiming_normal_(weight, mode=mode, nonlinearity="relu", generator=generator)
    elif init == "orthogonal" or weight.ndim == 2:
        nn.init.orthogonal_(weight, gain=math.sqrt(2), generator=generator)
    else:  # delta-orthogonal: all of it in the kernel's centre
        nn.init.zeros_(weight)
        centre = torch.empty(weight.shape[:2])
        nn.init.orthogonal_(centre, gain=math.sqrt(2), generator=generator)
        with torch.no_grad():
            weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = centre


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"init {seed} {name}".encode()).digest()[:8]) >> 1


def parameters_digest(network: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of all parameters."""
    sha = hashlib.sha256()
    for name, parameter in network.named_parameters():
        sha.update(f"{name} {tuple(parameter.shape)}".encode())
        sha.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
