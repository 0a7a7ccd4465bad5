"""Two of torch's layers, with their names, parameters and function, as this study needs them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that doesn't count its batches, of `ghost` images at a time if given.

    The count would be a kernel a layer and an iteration, for a number that the iteration tells: it
    is filled in where the state is saved. The running averages move once a batch, by the mean of
    its groups' statistics: so they come out the same where several processes have a group each.
    """

    def __init__(self, planes: int, ghost: int | None = None) -> None:
        super().__init__(planes)
        self.ghost = ghost
        self.part, self.of = 0, 1
        """Which part of a batch comes next, of how many (see step.in_parts)."""

    rectify: "Callable[[BatchNorm, Tensor, Tensor | None], Tensor] | None" = None
    """What `rectified` calls in training in torch's stead (native)."""

    def forward(self, x: Tensor) -> Tensor:
        momentum = cast(float, self.momentum)
        groups = torch.split(x, self.ghost) if self.training and self.ghost else (x,)
        if len(groups) * self.of == 1:
            return self._normalise(x, momentum)
        # Of each group momentum / groups remains, after what the groups behind it leave of it.
        share = momentum / (len(groups) * self.of)
        behind = len(groups) * (self.of - self.part) - 1
        momenta = [share / (1 - share * (behind - i)) for i in range(len(groups))]
        return torch.cat([self._normalise(g, m) for g, m in zip(groups, momenta, strict=True)])

    def _normalise(self, x: Tensor, momentum: float) -> Tensor:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training, momentum, self.eps,
        )  # fmt: skip


def rectified(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """ReLU of the normalised maps, with the shortcut added where there is one."""
    listeners = norm._forward_hooks or norm._forward_pre_hooks  # they want to hear the layer itself
    if isinstance(norm, BatchNorm) and norm.rectify and norm.training and not listeners:
        return norm.rectify(norm, x, shortcut)
    y = norm(x)
    if shortcut is not None:
        y += shortcut
    return functional.relu_(y)


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution with a border of one zero and no bias."""

    convolve: Callable[[Tensor, Tensor, int], Tensor] | None = None
    """What is called with (x, weight, stride) in torch's stead (native)."""

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
    """The same of slices, over rows and then over columns: a GPU's own backward adds in any order.

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
def averages_held(network: nn.Module) -> Iterator[None]:
    """Run batches in training mode, and leave the running averages as they are."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
