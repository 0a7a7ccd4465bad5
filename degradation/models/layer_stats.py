"""Layer statistics: how large signals, weights and gradients are, on one batch, moving nothing.

Are vanishing gradients why plain nets degrade? "We argue that this optimization difficulty is
unlikely to be caused by vanishing gradients. These plain networks are trained with BN, which
ensures forward propagated signals to have non-zero variances. We also verify that the backward
propagated gradients exhibit healthy norms with BN" (Sec. 4.1). These are the numbers to check.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation.models.layers import Conv3x3, frozen_running_stats
from degradation.models.resnet import forward


def measure(network: nn.Module, x: Tensor, labels: Tensor, precision: str) -> list[dict[str, Any]]:
    """Of each 3×3 layer, in order: the standard deviation of what enters it and of its response
    (behind the normalization, before ReLU and addition), the norms of its weight and its gradient.

    `x`, `labels`: a batch, seen in training mode. A number that is not finite is None.
    """
    convs = {name: m for name, m in network.named_modules() if isinstance(m, Conv3x3)}
    with _deviations(network, list(convs)) as std, frozen_running_stats(network):
        loss = functional.cross_entropy(forward(network, x, precision), labels)
    gradients = torch.autograd.grad(loss, [conv.weight for conv in convs.values()])
    return [
        {
            "layer": number,
            "name": name,
            "input_std": _finite(std[f"input {name}"]),
            "response_std": _finite(std[f"response {name}"]),
            "weight_norm": _finite(float(convs[name].weight.detach().norm())),
            "gradient_norm": _finite(float(gradient.double().norm())),
        }
        for number, (name, gradient) in enumerate(zip(convs, gradients, strict=True), 1)
    ]


@contextmanager
def _deviations(network: nn.Module, convs: list[str]) -> Iterator[dict[str, float]]:
    """Standard deviations, filled in by a forward pass: `input NAME` and `response NAME`."""
    std: dict[str, float] = {}

    def note(key: str, tensor: Tensor) -> None:
        std[key] = float(tensor.detach().double().std())

    hooks = []
    for name in convs:
        # Behind blocks.stage1_0.conv2 stands blocks.stage1_0.norm2.
        conv, norm = (network.get_submodule(n) for n in (name, name.replace("conv", "norm")))
        hooks += [
            conv.register_forward_pre_hook(lambda _, x, n=name: note(f"input {n}", x[0])),
            norm.register_forward_hook(lambda _, x, y, n=name: note(f"response {n}", y)),
        ]
    try:
        yield std
    finally:
        for hook in hooks:
            hook.remove()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
