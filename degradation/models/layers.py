"""Torch's layers, with their names, parameters and function, as this study needs them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that doesn't count its batches, of `ghost` images at a time if given.

    `num_batches_tracked` is set only when a checkpoint is saved: updating it costs one kernel per
    layer and step. The running statistics move once a batch, by the mean of its groups' statistics:
    so they come out the same where several processes have a group each.

    It calls torch's own kernels, not cuDNN's. In float32 with channels_last, cuDNN takes its
    SPATIAL_PERSISTENT mode, whose atomic integer reductions may overflow, and whose kernels stall
    where those of another run hold multiprocessors. On a CPU the kernels are the same either way.
    """

    def __init__(self, planes: int, ghost: int | None = None) -> None:
        super().__init__(planes)
        self.ghost = ghost

    rectify: "Callable[[BatchNorm, Tensor, Tensor | None], Tensor] | None" = None
    """What `rectified` calls in training in place of torch's operations (see kernels/)."""

    def forward(self, x: Tensor) -> Tensor:
        momentum = cast(float, self.momentum)
        if not (self.training and self.ghost) or len(x) <= self.ghost:
            return self._normalize(x, momentum)
        groups = torch.split(x, self.ghost)
        # Of each group's statistics `momentum / groups` is to remain in the running ones, after
        # the groups behind it have moved them on.
        share = momentum / len(groups)
        momenta = [share / (1 - share * (len(groups) - 1 - i)) for i in range(len(groups))]
        return torch.cat([self._normalize(g, m) for g, m in zip(groups, momenta, strict=True)])

    def _normalize(self, x: Tensor, momentum: float) -> Tensor:
        statistics = self.running_mean, self.running_var, self.training, momentum, self.eps
        return torch.native_batch_norm(x, self.weight, self.bias, *statistics)[0]


def rectified(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """ReLU of the normalized maps, with the shortcut added where there is one.

    The one seam behind which other kernels than torch's may do all three (see kernels/). They
    don't where a hook listens to `norm`: it is to get what that layer alone gives.
    """
    hooked = norm._forward_hooks or norm._forward_pre_hooks
    if isinstance(norm, BatchNorm) and norm.rectify and norm.training and not hooked:
        return norm.rectify(norm, x, shortcut)
    y = norm(x)
    if shortcut is not None:
        y += shortcut
    return functional.relu_(y)


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution with a border of one zero and no bias."""

    convolve: Callable[[Tensor, Tensor, int], Tensor] | None = None
    """What is called with (x, weight, stride) in place of torch's operation (see kernels/)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[-2:] == (2, 2) and self.stride == (1, 1):
            return matmul_2x2(x, self.weight)
        if self.convolve is not None:
            return self.convolve(x, self.weight, self.stride[0])
        return super().forward(x)


class MaxPool(nn.Module):
    """The maximum of each 3×3 window, at every second pixel, of maps without negative numbers."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda and torch.are_deterministic_algorithms_enabled():
            return max_pool_by_slices(x)
        return functional.max_pool2d(x, 3, 2, padding=1)


def max_pool_by_slices(x: Tensor) -> Tensor:
    """The same by slices, over rows and then over columns: the backward pass of a GPU's own max
    pool adds in any order.

    Zeros stand at the border, which are no larger than what is there.
    """
    x = functional.pad(x, (1, 1, 1, 1))
    x = torch.maximum(torch.maximum(x[:, :, :-2:2], x[:, :, 1:-1:2]), x[:, :, 2::2])
    return torch.maximum(torch.maximum(x[..., :-2:2], x[..., 1:-1:2]), x[..., 2::2])


# The tap of a 3×3 kernel, flattened, by which an output pixel of a 2×2 map sees an input pixel.
_PIXELS = [(y, x) for y in (0, 1) for x in (0, 1)]
TAPS_2X2 = torch.tensor([[(1 + y - v) * 3 + 1 + x - u for y, x in _PIXELS] for v, u in _PIXELS])


def matmul_2x2(x: Tensor, weight: Tensor) -> Tensor:
    """The 3×3 convolution of 2×2 maps as one matrix product: (n, in, 2, 2) → (n, out, 2, 2).

    Every pixel sees every pixel there, and five of nine taps see the border. On a CPU forward and
    backward take a third of the convolution's time (128 images, 64 planes: 0.86 of 2.54 ms).
    """
    outputs, inputs = weight.shape[:2]
    taps = weight.permute(0, 2, 3, 1).reshape(outputs, 9, inputs)
    matrix = taps.index_select(1, TAPS_2X2.flatten()).view(outputs, 4, 4 * inputs).transpose(0, 1)
    pixels = x.permute(0, 2, 3, 1).reshape(len(x), 4 * inputs)
    y = functional.linear(pixels, matrix.reshape(4 * outputs, 4 * inputs))
    return y.view(len(x), 2, 2, outputs).permute(0, 3, 1, 2)


@contextmanager
def frozen_running_stats(network: nn.Module) -> Iterator[None]:
    """Run batches in training mode, and leave the running statistics as they are."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
