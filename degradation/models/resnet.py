"""One network for both arms: plain and residual differ in `shortcut` alone.

    first conv | stages of blocks, each stage with maps of half the side and twice the filters |
    global average pool | linear

Which layers there are at a depth is for config/architecture.py to say. Batch normalization stands
after each conv and before the activation. With option A both arms have the same parameter names,
shapes and initial tensors (init.py).
"""

import hashlib
import warnings
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call

from degradation.config.architecture import units
from degradation.config.schema import Model
from degradation.models.blocks import Block, Bottleneck, normalization
from degradation.models.kernels.weight_casts import bfloat16_weights
from degradation.models.layers import Conv3x3, MaxPool, rectified


class Network(nn.Module):
    """A network of `depth` weighted layers for images of `channels` planes.

    Input: (batch, channels, height, width), height and width multiples of 4 (CIFAR-10) or 32
    (ImageNet). Output: (batch, classes) logits. Raises ConfigError for a depth that its design
    doesn't have.
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
        self.norm = normalization(model, model.width)
        blocks, features = OrderedDict[str, nn.Module](), model.width
        for unit in units(model.design, depth, model.width):
            block = Bottleneck if unit.is_bottleneck else Block
            blocks[unit.name] = block(model, unit)
            features = unit.outputs
        self.blocks = nn.Sequential(blocks)
        self.linear = nn.Linear(features, classes)

    def stem(self, x: Tensor) -> Tensor:
        """What the first block gets, (batch, width, height, width)."""
        maps: Tensor = self.pool(rectified(self.norm, self.conv(x)))
        return maps

    def features(self, x: Tensor) -> Tensor:
        """The last block's maps, (batch, planes, height, width)."""
        maps: Tensor = self.blocks(self.stem(x))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        # A mean, and not an adaptive pool: a GPU sums it in a fixed order.
        logits: Tensor = self.linear(self.features(x).mean((2, 3)))
        return logits


def forward(network: nn.Module, x: Tensor, precision: str, cast_at_once: bool = False) -> Tensor:
    """Logits in float32, whatever the precision inside.

    `cast_at_once`: in bfloat16 one operation casts all weights, where autocast takes one for each.
    """
    if precision == "fp32":
        logits: Tensor = network(x)
        return logits
    with torch.autocast(x.device.type, torch.bfloat16):
        weights = bfloat16_weights(network) if cast_at_once else {}
        logits = functional_call(network, weights, (x,)) if weights else network(x)
    return logits.float()


EXPECTED_WARNINGS = (
    # Dynamo asks each parameter for its gradient while it traces a block.
    r"The \.grad attribute of a Tensor that is not a leaf",
    # It suggests TF32 for float32, which numerics.precision=fp32 means not to be.
    "TensorFloat32 tensor cores",
)


def compile_blocks(network: nn.Module, backend: str = "inductor") -> None:
    """Compile each block by itself: a few compilations serve any depth.

    Blocks of one shape share their code, so that 1,202 layers take no longer than 20.
    """
    # This import takes two seconds, which runs that don't compile need not pay for.
    import torch._dynamo.config as dynamo

    # At its usual limit it would fall back to the uncompiled block with no more than a warning.
    dynamo.recompile_limit = 128
    dynamo.fail_on_recompile_limit_hit = True
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    for block in network.get_submodule("blocks").children():
        block.compile(fullgraph=True, dynamic=False, backend=backend)


def parameters_digest(network: nn.Module) -> str:
    """SHA-256 over the names, shapes and values of all parameters."""
    sha = hashlib.sha256()
    for name, parameter in network.named_parameters():
        sha.update(f"{name} {tuple(parameter.shape)}".encode())
        sha.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
