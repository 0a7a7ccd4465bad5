"""A 3×3 convolution whose weight's gradient is the kernel's (weight_gradient.c)."""

from typing import Any

import torch
from torch import Tensor

from degradation.models.kernels import library

CACHED = 448  # lines of 64 bytes that a band may take: most of a level-1 cache of 32 KiB


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """As torch's conv2d with a border of one zero; (n, in, h, w) by (out, in, 3, 3).

    `in` a multiple of 8, `out` of 4, float32 on the CPU.
    """
    y: Tensor = _Convolution.apply(x, weight, stride)  # type: ignore[no-untyped-call]
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return torch.conv2d(x, weight, None, stride, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (grad,), (x, weight), of_x = grads, ctx.saved_tensors, None
        if ctx.needs_input_grad[0]:
            strides, ones = [ctx.stride] * 2, [1, 1]
            of_x = torch.ops.aten.convolution_backward.default(
                grad, x, weight, None, strides, ones, ones, False, [0, 0], 1, [True, False, False]
            )[0]
        return of_x, weight_gradient(x, grad, ctx.stride), None


def weight_gradient(x: Tensor, grad: Tensor, stride: int) -> Tensor:
    """(out, in, 3, 3), from the input (n, in, h, w) and the output's gradient (n, out, …)."""
    x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad))
    images, inputs, height, width = x.shape
    _, outputs, high, wide = grad.shape
    native = library.load()
    scratch = x.new_zeros(native.scratch_size(height, width, inputs, high, wide, outputs))
    total = x.new_zeros(outputs, 3, 3, inputs)
    pointers = [tensor.data_ptr() for tensor in (x, grad, total, scratch)]
    sizes = images, height, width, inputs, outputs, stride, band(width, high, wide, stride)
    native.weight_gradient(*pointers, *sizes)
    return total.permute(0, 3, 1, 2)


def band(width: int, high: int, wide: int, stride: int) -> int:
    """Rows of output, `high` in all, for which what a block of planes needs stays cached."""
    row = width + 2
    fitting = max(1, (CACHED - 2 * row) // (stride * row + wide))
    bands = -(-high // fitting)
    return -(-high // bands)
