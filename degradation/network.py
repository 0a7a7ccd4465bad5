"""One network for both arms: plain and residual differ in `shortcut` alone (He et al., Sec. 4.2).

    3×3 conv, `width` filters | three stages of n blocks of two 3×3 convs, on maps of full, half and
    quarter size with width, 2·width, 4·width filters | global average pool | linear

That is 6n+2 weighted layers. Batch normalisation stands after each conv and before the activation;
the second ReLU comes after the addition. With option A the shortcut has no parameters: it takes
every second pixel and adds channels of zeros, so both arms have the same parameter names, shapes
and initial tensors. (A 1×1 convolution there is option B; it has parameters, 2,752 of them.)
"""

import hashlib
import math
from collections import OrderedDict
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation.layers import BatchNorm, Conv3x3
from degradation.spec import Model, blocks_per_stage

STAGES = 3
Fan = Literal["fan_in", "fan_out"]


class Identity(nn.Module):
    """Option A: every `stride`-th pixel, `extra` channels of zeros, no parameter."""

    def __init__(self, extra: int, stride: int, padding: str) -> None:
        super().__init__()
        self.stride = stride
        self.front = extra // 2 if padding == "split" else 0
        self.back = extra - self.front

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.front or self.back:
            x = functional.pad(x, (0, 0, 0, 0, self.front, self.back))
        return x


class Projection(nn.Sequential):
    """Options B and C: a 1×1 convolution and its batch normalisation."""

    def __init__(self, model: Model, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                norm=normalisation(model, outputs),
            )
        )


def normalisation(model: Model, planes: int) -> nn.Module:
    """What stands behind a convolution."""
    return BatchNorm(planes, model.ghost) if model.norm else nn.Identity()


class Scaled(nn.Module):
    """A shortcut times `alpha`: a number, or a parameter that starts there."""

    def __init__(self, inner: nn.Module, alpha: float, learned: bool) -> None:
        super().__init__()
        self.inner, self.start = inner, alpha
        self.alpha = nn.Parameter(torch.empty(())) if learned else alpha

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.alpha * self.inner(x)
        return scaled


def shortcut(model: Model, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What is added to a block's residual: nothing (plain), its input, or a projection of it.

    Times `model.alpha`: at 0 the net is a plain one, at 1 there is no factor.
    """
    if model.alpha == 0 and not model.alpha_learned:
        return None
    whole = _whole_shortcut(model, inputs, outputs, stride)
    if whole is None or (model.alpha == 1 and not model.alpha_learned):
        return whole
    return Scaled(whole, model.alpha, model.alpha_learned)


def _whole_shortcut(model: Model, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    changes = inputs != outputs or stride != 1
    match model.shortcut:
        case "none":
            return None
        case "projection" if changes:
            return Projection(model, inputs, outputs, stride)
        case "projection_all":
            return Projection(model, inputs, outputs, stride)
        case _:
            return Identity(outputs - inputs, stride, model.padding)


class Block(nn.Module):
    """Two 3×3 layers, and the shortcut around them where there is one."""

    def __init__(self, model: Model, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(inputs, outputs, stride)
        self.norm1 = normalisation(model, outputs)
        self.conv2 = Conv3x3(outputs, outputs)
        self.norm2 = normalisation(model, outputs)
        self.shortcut = shortcut(model, inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu_(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return functional.relu_(y)


class Network(nn.Module):
    """A network of `depth` weighted layers for pictures of `channels` planes.

    Input: (batch, channels, height, width), height and width multiples of 4. Output: (batch,
    classes) logits. Raises ValueError for a depth that isn't 6n+2.
    """

    def __init__(self, model: Model, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = Conv3x3(channels, model.width)
        self.norm = normalisation(model, model.width)
        blocks, inputs = [], model.width
        for stage in range(STAGES):
            for block in range(blocks_per_stage(depth)):
                outputs, stride = model.width * 2**stage, 2 if stage and not block else 1
                blocks.append((f"stage{stage + 1}_{block}", Block(model, inputs, outputs, stride)))
                inputs = outputs
        self.blocks = nn.Sequential(OrderedDict(blocks))
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.norm(self.conv(x)))
        features: Tensor = self.blocks(x).mean((2, 3))  # deterministic on GPUs, unlike the pool
        logits: Tensor = self.linear(features)
        return logits


def build(model: Model, depth: int, channels: int, classes: int, seed: int, init: str) -> Network:
    """A network with its initial tensors: a function of (seed, parameter name, shape) alone.

    So the two arms, and networks of two depths, start from equal tensors wherever they have the
    same parameter. Weights: normal, variance 2 / fan (He et al. 2015b), `init` naming the fan.
    """
    with torch.device("meta"):  # torch's own initialisation would be drawn and thrown away
        network = Network(model, depth, channels, classes)
    network.to_empty(device="cpu")
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
