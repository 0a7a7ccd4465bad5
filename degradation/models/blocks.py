"""Blocks of layers, and the shortcut around them that makes the one arm residual (Sec. 3.2, 4.1).

With option A the shortcut has no parameters: it takes every second pixel and adds channels of
zeros, so both arms have the same parameter names and shapes. A 1×1 convolution there is option B
(where the shape changes) or C (everywhere).
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from degradation.config.architecture import Unit
from degradation.config.schema import Model
from degradation.models.layers import BatchNorm, Conv3x3, rectified


class Identity(nn.Module):
    """Option A: every `stride`-th pixel, `extra` channels of zeros, no parameter."""

    def __init__(self, extra: int, stride: int, padding: str) -> None:
        super().__init__()
        self.stride = stride
        self.front = extra // 2 if padding == "split" else 0
        self.back = extra - self.front

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.front or self.back:
            x = functional.pad(x, (0, 0, 0, 0, self.front, self.back))
        return x


class Projection(nn.Sequential):
    """Options B and C: a 1×1 convolution and its batch normalization."""

    def __init__(self, model: Model, inputs: int, outputs: int, stride: int) -> None:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        super().__init__(OrderedDict(conv=conv, norm=normalization(model, outputs)))


class Scaled(nn.Module):
    """A shortcut times `alpha`."""

    def __init__(self, inner: nn.Module, alpha: float) -> None:
        super().__init__()
        self.inner, self.alpha = inner, alpha

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.alpha * self.inner(x)
        return scaled


def normalization(model: Model, planes: int) -> nn.Module:
    """What stands behind a convolution."""
    return BatchNorm(planes, model.ghost_batch_size) if model.norm else nn.Identity()


def shortcut(model: Model, inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """What is added to a block's residual: nothing (plain), its input, or a projection of it.

    Times `model.alpha`: at 0 the net is a plain one, at 1 there is no factor.
    """
    if model.shortcut == "none" or model.alpha == 0:
        return None
    changes = inputs != outputs or stride != 1
    whole: nn.Module = Identity(outputs - inputs, stride, model.shortcut_padding)
    if model.shortcut == "projection_all" or (model.shortcut == "projection" and changes):
        whole = Projection(model, inputs, outputs, stride)
    return whole if model.alpha == 1 else Scaled(whole, model.alpha)


class Block(nn.Module):
    """Two 3×3 layers, and the shortcut around them where there is one."""

    def __init__(self, model: Model, unit: Unit) -> None:
        super().__init__()
        self.conv1 = Conv3x3(unit.inputs, unit.outputs, unit.stride)
        self.norm1 = normalization(model, unit.outputs)
        self.conv2 = Conv3x3(unit.outputs, unit.outputs)
        self.norm2 = normalization(model, unit.outputs)
        self.shortcut = shortcut(model, unit.inputs, unit.outputs, unit.stride)

    def forward(self, x: Tensor) -> Tensor:
        y = rectified(self.norm1, self.conv1(x))
        added = None if self.shortcut is None else self.shortcut(x)
        return rectified(self.norm2, self.conv2(y), added)


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 layer, likewise (Figure 5)."""

    def __init__(self, model: Model, unit: Unit) -> None:
        super().__init__()
        first, second = (unit.stride, 1) if model.stride_in_1x1 else (1, unit.stride)
        self.conv1 = nn.Conv2d(unit.inputs, unit.width, 1, first, bias=False)
        self.norm1 = normalization(model, unit.width)
        self.conv2 = Conv3x3(unit.width, unit.width, second)
        self.norm2 = normalization(model, unit.width)
        self.conv3 = nn.Conv2d(unit.width, unit.outputs, 1, bias=False)
        self.norm3 = normalization(model, unit.outputs)
        self.shortcut = shortcut(model, unit.inputs, unit.outputs, unit.stride)

    def forward(self, x: Tensor) -> Tensor:
        y = rectified(self.norm1, self.conv1(x))
        y = rectified(self.norm2, self.conv2(y))
        added = None if self.shortcut is None else self.shortcut(x)
        return rectified(self.norm3, self.conv3(y), added)
