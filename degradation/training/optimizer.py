"""The optimizer: SGD with momentum, or AdamW, whose state and learning rate lie on the device.

The learning rate is a tensor that is filled before a step, and the moments are there from the
beginning, so that a step reads the one and moves the others without asking the host: a CUDA graph
of it stays right when the learning rate changes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from degradation.config.schema import Recipe


class SGD:
    """Stochastic gradient descent with momentum, by torch's fused kernel.

    torch.optim.SGD, bit by bit, without what each torch.optim.Optimizer imports at its first step:
    torch's compiler and sympy, two seconds (2.13, measured: 3.7 s on a busy machine, against 1 ms),
    which is a third of the time from a command to its first iteration.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, nesterov: bool) -> None:
        """Groups of `params`, their `weight_decay` and `lr`, a 0-dimensional tensor."""
        self.param_groups, self.momentum, self.nesterov = groups, momentum, nesterov
        # Zeros are what torch's first step assumes, too: it starts with the bare gradient.
        self.state: dict[Tensor, dict[str, Tensor]] = {
            parameter: {"momentum": torch.zeros_like(parameter)}
            for group in groups
            for parameter in group["params"]
        }

    def zero_grad(self) -> None:
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient. Nothing waits for the device."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                sgd(
                    moved,
                    [p.grad for p in moved],
                    [self.state[p]["momentum"] for p in moved],
                    weight_decay=group["weight_decay"],
                    lr=group["lr"],
                    momentum=self.momentum,
                    nesterov=self.nesterov,
                    dampening=0.0,
                    maximize=False,
                    fused=True,
                )


Optimizer = SGD | torch.optim.AdamW


def build(network: nn.Module, recipe: Recipe) -> Optimizer:
    """SGD with momentum, or AdamW, over all parameters in their order.

    Without `weight_decay_on_norm`, weight decay spares batch normalization and biases: vectors,
    not tensors.
    """
    parameters = list(network.parameters())
    spared = [p for p in parameters if p.ndim <= 1 and not recipe.weight_decay_on_norm]
    decayed = [p for p in parameters if p.ndim > 1 or recipe.weight_decay_on_norm]
    lr = torch.tensor(recipe.lr, device=parameters[0].device)
    groups = [
        {"params": params, "weight_decay": decay, "lr": lr}
        for params, decay in ((decayed, recipe.weight_decay), (spared, 0.0))
        if params
    ]
    # Fused: a fifth of the plain loop's time at 20 layers, a third at 1,202; equal bits.
    if recipe.optimizer == "sgd":
        return SGD(groups, recipe.momentum, recipe.nesterov)
    return _adamw(groups, lr, recipe.momentum)


def _adamw(groups: list[dict[str, Any]], lr: Tensor, momentum: float) -> torch.optim.AdamW:
    betas = (momentum, 0.999)
    # Torch refuses to put AdamW's step into a CUDA graph unless it was told to expect that, and
    # would warn of each step that is launched instead, as the first ones before a capture are.
    adam = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True, capturable=True)
    adam._warned_capturable_if_run_uncaptured = True
    for parameter in (p for group in groups for p in group["params"]):
        adam.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return adam


def learning_rate_tensor(optimizer: Optimizer) -> Tensor:
    """The learning rate that the next step takes, 0-dimensional: one tensor for all groups."""
    lr: Tensor = optimizer.param_groups[0]["lr"]
    return lr


def moments(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors, as KIND.PARAMETER: momentum.conv.weight, …"""
    return {
        f"{kind}.{name}": tensor
        for name, parameter in network.named_parameters()
        for kind, tensor in optimizer.state[parameter].items()
    }
