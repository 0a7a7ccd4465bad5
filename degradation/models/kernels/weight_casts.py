"""All weights of a bfloat16 step cast by one operation; autocast launches a kernel for each.

    logits = functional_call(network, bfloat16_weights(network), (x,))  # within torch.autocast

Autocast leaves such a weight as it is. The bits are the same, and so are the gradients of the
float32 master weights, which one operation casts back to float32.
"""

from typing import Any

import torch
from torch import Tensor, nn


def bfloat16_weights(network: nn.Module) -> dict[str, Tensor]:
    """The parameters of convolutions and linear layers in bfloat16, by their names.

    Not those of batch normalization, which takes float32. The gradients flow to the network's own
    parameters. On a GPU, a kernel casts up to 64 tensors.
    """
    names, masters = [], []
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            for name, parameter in module.named_parameters(prefix, recurse=False):
                names.append(name)
                masters.append(parameter)
    halves: tuple[Tensor, ...] = _Cast.apply(*masters)  # type: ignore[no-untyped-call]
    return dict(zip(names, halves, strict=True))


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *masters: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(cast_together(list(masters), torch.bfloat16))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # A weight that the loss does not depend on has no gradient, and gets none.
        there = [grad for grad in grads if grad is not None]
        whole = iter(cast_together(there, torch.float32))
        return tuple(None if grad is None else next(whole) for grad in grads)


def cast_together(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copies of another dtype and the same strides: one kernel needs the strides to be equal."""
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, tensors)
    return copies
