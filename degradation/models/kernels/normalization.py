"""Batch normalization in training, a shortcut's addition and ReLU as one operation (rectified.c).

Torch does them in three operations forward and three backward, each over all maps in memory.
"""

from typing import Any, cast

import torch
from torch import Tensor

from degradation.models.kernels import library
from degradation.models.layers import BatchNorm


def rectify(norm: BatchNorm, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """ReLU of the normalized maps plus the shortcut, all (n, planes, h, w); moves the running
    statistics.

    Planes a multiple of 8, float32 on the CPU.
    """
    inputs = x, shortcut, norm.weight, norm.bias, norm
    y: Tensor = _Rectified.apply(*inputs)  # type: ignore[no-untyped-call]
    return y


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, norm: BatchNorm
    ) -> Tensor:
        x, shortcut = _channels_last(x), _channels_last(shortcut)
        y, moments, scratch = torch.empty_like(x), x.new_empty(2, weight.numel()), _scratch(weight)
        running = norm.running_mean, norm.running_var
        pointers = _pointers(x, shortcut, weight, bias, *running, moments, y, scratch)
        library.load().rectified(*pointers, *_sizes(x), norm.eps, cast(float, norm.momentum))
        # Without a shortcut, what ReLU let through follows from x, and y need not be read again.
        ctx.save_for_backward(x, weight, bias, moments, None if shortcut is None else y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None]:
        x, weight, bias, moments, y = ctx.saved_tensors
        grad, scratch = _channels_last(grads[0]), _scratch(weight)
        of_x, of_weight, of_bias = map(torch.empty_like, (x, weight, bias))
        of_shortcut = None if y is None else torch.empty_like(x)
        outputs = of_x, of_shortcut, of_weight, of_bias
        pointers = _pointers(grad, x, weight, bias, moments, y, *outputs, scratch)
        library.load().rectified_backward(*pointers, *_sizes(x))
        return of_x, of_shortcut, of_weight, of_bias, None


def _channels_last(maps: Tensor | None) -> Any:
    return None if maps is None else maps.contiguous(memory_format=torch.channels_last)


def _pointers(*tensors: Tensor | None) -> list[int | None]:
    """Where they lie; the caller must hold them as long as it uses these."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def _scratch(weight: Tensor) -> Tensor:
    return weight.new_empty(4, weight.numel(), dtype=torch.float64)


def _sizes(x: Tensor) -> tuple[int, int]:
    """Pixels, planes."""
    planes = x.shape[1]
    return x.numel() // planes, planes
