"""The constructed solution: a trained network, deepened by layers that change nothing (Sec. 1).

"There exists a solution by construction to the deeper model: the added layers are identity mapping,
and the other layers are copied from the learned shallower model." The added blocks stand at the end
of each stage, where maps keep their size and signals are not negative.

    plain      each added layer: a kernel that copies its plane, and a batch normalisation whose
               scale and shift undo its own: the standard deviation and mean of the signal there
    residual   each added block: its last batch normalisation has scale 0; the shortcut is left

`noise` moves the added layers away from that: kernels by that many times He's standard deviation,
the residual block's scale to that number.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from degradation.config.architecture import STAGES, blocks_per_stage
from degradation.config.schema import RunConfig
from degradation.models.blocks import Block
from degradation.models.layers import averages_held
from degradation.models.resnet import Network


def grow(
    network: Network,
    config: RunConfig,
    trained: dict[str, Tensor],
    exam: Iterable[tuple[Tensor, Tensor]],
) -> None:
    """Copy the `trained` tensors of a shallower net into `network`; other blocks change nothing.

    `exam`: images over which a plain net's signals are measured, in batches as training has them.
    """
    state = network.state_dict()
    with torch.no_grad():
        for name, tensor in trained.items():
            state[name].copy_(tensor)
    for stage in range(1, STAGES + 1):
        added = list(_added(network, config, stage))
        if not added:
            continue
        if config.arm == "residual":
            for block in added:
                _pass_by(block, config.recipe.identity_init_noise)
        else:
            mean, variance = _signal(network, exam, before=f"stage{stage}_{_copied(config)}")
            for block in added:
                _pass_through(block, mean, variance, config.recipe.identity_init_noise)


def _copied(config: RunConfig) -> int:
    """Blocks of each stage that are copied."""
    assert config.recipe.identity_init_from is not None
    return blocks_per_stage(config.recipe.identity_init_from)


def _added(network: Network, config: RunConfig, stage: int) -> Iterator[Block]:
    for number in range(_copied(config), blocks_per_stage(config.depth)):
        block = network.blocks.get_submodule(f"stage{stage}_{number}")
        assert isinstance(block, Block)
        yield block


@torch.no_grad()
def _signal(
    network: Network, exam: Iterable[tuple[Tensor, Tensor]], before: str
) -> tuple[Tensor, Tensor]:
    """Mean and variance, plane by plane, of what enters a block.

    In training mode, over an exam's batches: any mean and variance make an identity in eval mode,
    but only these make nearly one in training, where a batch's own take their place.
    """
    sums: list[Tensor] = []
    count = 0

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        nonlocal count
        x = inputs[0].double()
        sums.append(torch.stack([x.sum((0, 2, 3)), x.square().sum((0, 2, 3))]))
        count += x.numel() // x.shape[1]
        raise _Seen

    hook = network.blocks.get_submodule(before).register_forward_pre_hook(note)
    try:
        with averages_held(network):
            for x, _ in exam:
                with suppress(_Seen):
                    network(x)
    finally:
        hook.remove()
    mean, square = torch.stack(sums).sum(0) / count
    return mean.float(), (square - mean.square()).clamp(min=0).float()


class _Seen(Exception):
    """What lies behind the block is of no interest."""


@torch.no_grad()
def _pass_through(block: Block, mean: Tensor, variance: Tensor, noise: float) -> None:
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


@torch.no_grad()
def _pass_by(block: Block, noise: float) -> None:
    """Make a residual block add nothing to its shortcut, or `noise` times a fresh block's part."""
    if isinstance(block.norm2, nn.BatchNorm2d):
        block.norm2.weight.fill_(noise)
    else:
        block.conv2.weight *= noise
