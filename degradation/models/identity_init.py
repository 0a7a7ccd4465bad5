"""Identity initialization: a trained network, deepened by layers that change nothing (Sec. 1).

"There exists a solution by construction to the deeper model: the added layers are identity mapping,
and the other layers are copied from the learned shallower model." The added blocks stand at the end
of each stage, where maps keep their size and signals are not negative.

    plain      each added layer: a kernel that copies its plane, and a batch normalization whose
               scale and shift undo its own: the standard deviation and mean of the signal there
    residual   each added block: its last batch normalization has scale 0; the shortcut is left

`noise` moves the added layers away from that: kernels by that many times He's standard deviation,
the residual block's scale to that number.
"""

from collections.abc import Iterable
from itertools import takewhile
from typing import cast

import torch
from torch import Tensor, nn

from degradation.config.architecture import STAGES, blocks_per_stage
from degradation.config.schema import RunConfig
from degradation.models.blocks import Block
from degradation.models.layers import frozen_running_stats
from degradation.models.resnet import Network


@torch.no_grad()
def initialize_as_identity(
    network: Network,
    config: RunConfig,
    trained: dict[str, Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> None:
    """Copy the `trained` tensors of a shallower net into `network`; other blocks change nothing.

    `batches`: (x, y) as training has them, over which a plain net's signals are measured.
    """
    state, noise = network.state_dict(), config.recipe.identity_init_noise
    for name, tensor in trained.items():
        state[name].copy_(tensor)
    assert config.recipe.identity_init_from is not None
    copied = blocks_per_stage(config.recipe.identity_init_from)
    for stage in range(1, STAGES + 1):
        names = [f"stage{stage}_{i}" for i in range(copied, blocks_per_stage(config.depth))]
        added = [cast(Block, network.blocks.get_submodule(name)) for name in names]
        if config.arm == "residual":
            for block in added:
                _make_bypassed(block, noise)
        elif added:
            mean, variance = _signal(network, batches, names[0])
            for block in added:
                _make_identity(block, mean, variance, noise)


def _signal(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], block: str
) -> tuple[Tensor, Tensor]:
    """Mean and variance, plane by plane, of what enters a block.

    In training mode: any mean and variance make an identity in eval mode, but only these make
    nearly one in training, where a batch's own take their place.
    """
    before = takewhile(lambda named: named[0] != block, network.blocks.named_children())
    layers, sums, count = [layer for _, layer in before], list[Tensor](), 0
    with frozen_running_stats(network):
        for x, _ in batches:
            signal = network.stem(x)
            for layer in layers:
                signal = layer(signal)
            signal = signal.double()
            sums.append(torch.stack([signal.sum((0, 2, 3)), signal.square().sum((0, 2, 3))]))
            count += signal.numel() // signal.shape[1]
    mean, square = torch.stack(sums).sum(0) / count
    return mean.float(), (square - mean.square()).clamp(min=0).float()


def _make_identity(block: Block, mean: Tensor, variance: Tensor, noise: float) -> None:
    """Make both layers of a plain block copy what comes in."""
    for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
        drawn = noise * conv.weight
        nn.init.dirac_(conv.weight)
        conv.weight += drawn
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(mean)


def _make_bypassed(block: Block, noise: float) -> None:
    """Make a residual block add nothing to its shortcut, or `noise` times a fresh block's part."""
    if isinstance(block.norm2, nn.BatchNorm2d):
        block.norm2.weight.fill_(noise)
    else:
        block.conv2.weight *= noise
