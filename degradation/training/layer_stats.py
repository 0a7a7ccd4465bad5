"""Layer by layer: how large signals, weights and gradients are, on one batch, moving nothing.

Are vanishing gradients why plain nets degrade? "We argue that this optimization difficulty is
unlikely to be caused by vanishing gradients. These plain networks are trained with BN, which
ensures forward propagated signals to have non-zero variances. We also verify that the backward
propagated gradients exhibit healthy norms with BN" (Sec. 4.1). Here are the numbers to look at.
"""

import json
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation.models.layers import Conv3x3, averages_held
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.training.step import forward


def measure(network: nn.Module, x: Tensor, labels: Tensor, precision: str) -> list[dict[str, Any]]:
    """Of each 3×3 layer, in order: the standard deviation of what enters it and of its response
    (behind the normalisation, before ReLU and addition), the norms of its weight and its gradient.

    `x`, `labels`: a batch, seen in training mode. A number that is not finite is None.
    """
    modules = dict(network.named_modules())
    convs = {name: m for name, m in modules.items() if isinstance(m, Conv3x3)}
    seen: dict[str, float] = {}

    def note(key: str, tensor: Tensor) -> None:
        seen[key] = float(tensor.detach().double().std())

    hooks = []
    for name in convs:
        hooks.append(convs[name].register_forward_pre_hook(
            lambda module, inputs, n=name: note(f"input {n}", inputs[0])
        ))  # fmt: skip
        hooks.append(modules[normalisation(name)].register_forward_hook(
            lambda module, inputs, output, n=name: note(f"response {n}", output)
        ))  # fmt: skip
    try:
        with averages_held(network):
            loss = functional.cross_entropy(forward(network, x, precision), labels)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(loss, [conv.weight for conv in convs.values()])
    return [
        {
            "layer": number,
            "name": name,
            "input_std": _finite(seen[f"input {name}"]),
            "response_std": _finite(seen[f"response {name}"]),
            "weight_norm": _finite(float(convs[name].weight.detach().norm())),
            "gradient_norm": _finite(float(gradient.double().norm())),
        }
        for number, (name, gradient) in enumerate(zip(convs, gradients, strict=True), 1)
    ]


def normalisation(conv: str) -> str:
    """The name of what stands behind a convolution: blocks.stage1_0.norm2 behind ….conv2."""
    head, dot, own = conv.rpartition(".")
    return f"{head}{dot}norm{own.removeprefix('conv')}"


def note(run: RunDir, iteration: int, layers: list[dict[str, Any]]) -> None:
    """Append the layers' numbers to the run's `layers.jsonl`, a line a moment."""
    line = json.dumps({"iteration": iteration, "layers": layers}, allow_nan=False)
    files.append_line(run.layers, line)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
