"""The optimizer, and the learning rate as a pure function of the iteration.

One moment that only training can tell enters the schedule: the end of the warm-up. Sec. 4.2 trains
the 110-layer net at 0.01 *until the training error is below 80 %* and at 0.1 from then on: it is a
condition, not a count, and the drops stay where they are.
"""

import torch
from torch import Tensor, nn

from degradation.spec import Recipe


def warms_up(recipe: Recipe, depth: int) -> bool:
    """Whether a network of `depth` layers starts with the warm-up's learning rate."""
    return recipe.warmup_min_depth is not None and depth >= recipe.warmup_min_depth


def learning_rate(recipe: Recipe, iteration: int, warmup_end: int | None) -> float:
    """The learning rate of one iteration, counted from 0.

    `warmup_end` is the first iteration after the warm-up: 0 without one, None while it lasts.
    """
    warm = warmup_end is None or iteration < warmup_end
    drops = sum(iteration >= drop for drop in recipe.drops)
    rate = recipe.warmup_lr if warm else recipe.lr
    for _ in range(drops):
        rate *= recipe.drop_factor
    return float(f"{rate:.12g}")  # 0.1 · 0.1 is 0.01, not 0.010000000000000002


def build(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with momentum over all parameters, in their order.

    Without `decay_norm`, weight decay spares batch normalisation and biases: vectors, not tensors.
    The learning rate is a tensor on the parameters' device, and the momenta are there from the
    beginning: a recorded step (see engine.py) reads the one and moves the others.
    """
    parameters = list(network.parameters())
    spared = [] if recipe.decay_norm else [p for p in parameters if p.ndim == 1]
    decayed = parameters if recipe.decay_norm else [p for p in parameters if p.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=torch.tensor(recipe.lr, device=parameters[0].device),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=True,  # a fifth of the plain loop's time at 20 layers, a third at 1,202; equal bits
    )
    momenta(network, optimizer)
    return optimizer


def set_learning_rate(optimizer: torch.optim.SGD, rate: Tensor) -> None:
    for group in optimizer.param_groups:
        group["lr"].copy_(rate)


def momenta(network: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """The momentum buffers by parameter name; made of zeros where there is none yet.

    Zeros are what SGD's first step assumes: it starts the buffer with the bare gradient.
    """
    buffers = {}
    for name, parameter in network.named_parameters():
        state = optimizer.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffers[name] = state["momentum_buffer"]
    return buffers
