"""Batch normalization in training, a shortcut's addition and ReLU as one operation on a GPU.

Two kernels forward (statistics; normalize, add, rectify) and two backward (reductions; the input's
gradient), in Triton, for float32 and bfloat16 maps in channels_last. All arithmetic is in float32.

- A map of shape (n, channels, h, w) is read as a matrix of n·h·w pixels by channels. A program has
  a tile of channels and a run of pixels; `Plan` says which, from the shape alone. So sums are taken
  in the same order on every GPU and at every call: equal bits, without atomics.
- Programs hand each other partial results through memory, from a pass's first kernel to its second:
  each program of the second combines them again for itself, which costs no third kernel.
- No mask is kept. With a shortcut, the output's sign tells what ReLU let through; without one,
  the backward pass computes the output again, with the same bits, and need not read it.
- A number that is NaN stays NaN, forward and backward, as with torch.

This module needs Triton, which comes with torch's CUDA build: import it where it is used alone.
"""

# Triton reads a kernel's annotations and has no types for pointers.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from dataclasses import dataclass
from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from degradation.models.layers import BatchNorm

TILE = 4096
"""Elements that a program has in registers at a time, of each map."""
WARPS = 8
"""Of 32 threads a program: 16 elements of a tile each, two or four loads of 16 bytes."""
FUSION = True
"""Let the compiler join a product and a sum: versions of Triton differ in what they do unasked.
Where the two passes must agree, `_affine` joins them by itself."""
CHANNELS = 32
"""Channels of a tile at most: 64 bytes of a pixel in bfloat16, two sectors of a GPU's memory."""
PROGRAMS = 256
"""In all, about: two for each multiprocessor of an H100."""
PARTIALS = 128
"""Programs that share a channel, at most, as each combines the results of all."""


@triton.jit
def _pixels(pixels, group_pixels, chunk):
    """The first pixel of this program's run, and the number of its pixels (0 past the end)."""
    block, group = tl.program_id(0), tl.program_id(2)
    end = tl.minimum(group_pixels, pixels - group * group_pixels)
    count = tl.maximum(tl.minimum(chunk, end - block * chunk), 0)
    return group * group_pixels + block * chunk, count


@triton.jit
def _channels(C: tl.constexpr, TILE_C: tl.constexpr):
    """This program's channels, and a mask of those that exist."""
    channel = tl.program_id(1) * TILE_C + tl.arange(0, TILE_C)
    return channel, channel < C


@triton.jit
def _tile(i, count, channel, C: tl.constexpr, TILE_P: tl.constexpr, TILE_C: tl.constexpr):
    """Offsets of the program's i-th tile from its first pixel, and a mask of those that exist."""
    pixel = i * TILE_P + tl.arange(0, TILE_P)[:, None]
    inside = pixel < count
    # Where all channels exist, the mask is the same along a pixel, and loads stay wide.
    if C % TILE_C != 0:
        inside = inside & (channel < C)[None, :]
    return pixel * C + channel[None, :], inside


@triton.jit
def _combine(mean, square, count, total):
    """Along axis 0: the mean, and the sum of squared distances from it (Chan et al. 1983).

    The mean is corrected once by the mean distance from it: far from zero, the sum's rounding
    would be as large as the deviation.
    """
    centre = tl.sum(mean * count, 0) / total
    centre += tl.sum((mean - centre[None, :]) * count, 0) / total
    distance = mean - centre[None, :]
    return centre, tl.sum(square + count * distance * distance, 0)


@triton.jit
def _store_partial(partial, one, two, channel, C: tl.constexpr):
    """Write this program's two results of each channel; partial: (groups, 2, blocks, C)."""
    blocks = tl.num_programs(0)
    place = partial + (tl.program_id(2) * 2 * blocks + tl.program_id(0)) * C + channel
    tl.store(place, one, mask=channel < C)
    tl.store(place + blocks * C, two, mask=channel < C)


@triton.jit
def _load_partials(partial, group, channel, C: tl.constexpr, BLOCKS: tl.constexpr):
    """Both results of all programs of a group: (BLOCKS, channels) each."""
    blocks = tl.num_programs(0)
    block = tl.arange(0, BLOCKS)[:, None]
    inside = (block < blocks) & (channel < C)[None, :]
    place = partial + (group * 2 * blocks + block) * C + channel[None, :]
    one = tl.load(place, mask=inside, other=0)
    return one, tl.load(place + blocks * C, mask=inside, other=0)


@triton.jit
def _load_affine(moments, weight, bias, group, channel, C: tl.constexpr):
    """A group's mean and inverse deviation, and what to scale and shift by."""
    there = channel < C
    place = moments + group * 2 * C + channel
    mean = tl.load(place, mask=there, other=0)
    inverse = tl.load(place + C, mask=there, other=0)
    scale = tl.load(weight + channel, mask=there, other=0) * inverse
    return mean, inverse, scale, tl.load(bias + channel, mask=there, other=0)


@triton.jit
def _affine(value, mean, scale, shift):
    """Normalized, scaled and shifted: the same bits in both passes, by one explicit operation."""
    return tl.fma(value - mean[None, :], scale[None, :], shift[None, :])


@triton.jit
def _rectified(value, sign):
    """`value` where `sign` is positive, else 0; NaN is not at most 0, and lets it through."""
    return tl.where(sign <= 0, 0.0, value)


@triton.jit
def _statistics(
    x,
    partial,
    pixels,
    group_pixels,
    chunk,
    C: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
):
    """Each program's mean and sum of squared distances from it, of each channel."""
    first, count = _pixels(pixels, group_pixels, chunk)
    channel, _ = _channels(C, TILE_C)
    x += first.to(tl.int64) * C
    # Each element of a tile has a running mean of the pixels that it sees (Welford 1962).
    mean = tl.zeros([TILE_P, TILE_C], tl.float32)
    square = tl.zeros([TILE_P, TILE_C], tl.float32)
    for i in range(0, tl.cdiv(count, TILE_P)):
        offsets, inside = _tile(i, count, channel, C, TILE_P, TILE_C)
        value = tl.load(x + offsets, mask=inside, other=0).to(tl.float32)
        distance = tl.where(inside, value - mean, 0.0)
        mean += distance * tl.div_rn(1.0, i + 1.0)
        square += distance * (value - mean)
    place = tl.arange(0, TILE_P)[:, None]
    met = ((tl.maximum(count - place, 0) + TILE_P - 1) // TILE_P).to(tl.float32)
    mean, square = _combine(mean, square, met, tl.maximum(count, 1).to(tl.float32))
    _store_partial(partial, mean, square, channel, C)


@triton.jit
def _moments(
    partial, group, channel, pixels, group_pixels, chunk, C: tl.constexpr, BLOCKS: tl.constexpr
):
    """A group's mean, its sum of squared distances from it, and its number of pixels."""
    total = tl.minimum(group_pixels, pixels - group * group_pixels)
    block = tl.arange(0, BLOCKS)[:, None]
    count = tl.maximum(tl.minimum(chunk, total - block * chunk), 0).to(tl.float32)
    mean, square = _load_partials(partial, group, channel, C, BLOCKS)
    mean, square = _combine(mean, square, count, total.to(tl.float32))
    return mean, square, total.to(tl.float32)


@triton.jit
def _normalize(
    x,
    shortcut,
    weight,
    bias,
    average_mean,
    average_var,
    partial,
    moments,
    y,
    pixels,
    group_pixels,
    chunk,
    epsilon,
    share,
    SHORTCUT: tl.constexpr,
    C: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """ReLU of the normalized x plus the shortcut; moments (groups, 2, C) for the backward pass."""
    block, group = tl.program_id(0), tl.program_id(2)
    first, count = _pixels(pixels, group_pixels, chunk)
    channel, there = _channels(C, TILE_C)
    mean, square, total = _moments(partial, group, channel, pixels, group_pixels, chunk, C, BLOCKS)
    inverse = tl.div_rn(1.0, tl.sqrt_rn(square / total + epsilon))
    # One program a tile of channels and group writes what is the same in all.
    if block == 0:
        place = moments + group * 2 * C + channel
        tl.store(place, mean, mask=there)
        tl.store(place + C, inverse, mask=there)
    if (block == 0) & (group == 0):
        # A `share` of the running averages is replaced by each group's moments, in their order.
        old_mean = tl.load(average_mean + channel, mask=there, other=0)
        old_var = tl.load(average_var + channel, mask=there, other=0)
        new_mean, new_var = old_mean, old_var
        for other in range(0, tl.num_programs(2)):
            its_mean, its_square, its_total = _moments(
                partial, other, channel, pixels, group_pixels, chunk, C, BLOCKS
            )
            new_mean += share * (its_mean - old_mean)
            new_var += share * (its_square / (its_total - 1) - old_var)
        tl.store(average_mean + channel, new_mean, mask=there)
        tl.store(average_var + channel, new_var, mask=there)
    scale = tl.load(weight + channel, mask=there, other=0) * inverse
    shift = tl.load(bias + channel, mask=there, other=0)
    start = first.to(tl.int64) * C
    for i in range(0, tl.cdiv(count, TILE_P)):
        offsets, inside = _tile(i, count, channel, C, TILE_P, TILE_C)
        value = tl.load(x + start + offsets, mask=inside, other=0).to(tl.float32)
        value = _affine(value, mean, scale, shift)
        if SHORTCUT:
            value += tl.load(shortcut + start + offsets, mask=inside, other=0).to(tl.float32)
        tl.store(y + start + offsets, _rectified(value, value), mask=inside)


@triton.jit
def _reductions(
    grad,
    x,
    y,
    weight,
    bias,
    moments,
    through,
    partial,
    pixels,
    group_pixels,
    chunk,
    SHORTCUT: tl.constexpr,
    C: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
):
    """Each program's sums of what ReLU lets through, and of that times the normalized x.

    With a shortcut, what ReLU lets `through` is its gradient, and is written.
    """
    first, count = _pixels(pixels, group_pixels, chunk)
    channel, _ = _channels(C, TILE_C)
    mean, inverse, scale, shift = _load_affine(moments, weight, bias, tl.program_id(2), channel, C)
    start = first.to(tl.int64) * C
    level = tl.zeros([TILE_P, TILE_C], tl.float32)
    slope = tl.zeros([TILE_P, TILE_C], tl.float32)
    for i in range(0, tl.cdiv(count, TILE_P)):
        offsets, inside = _tile(i, count, channel, C, TILE_P, TILE_C)
        value = tl.load(x + start + offsets, mask=inside, other=0).to(tl.float32)
        passed = tl.load(grad + start + offsets, mask=inside, other=0).to(tl.float32)
        if SHORTCUT:
            sign = tl.load(y + start + offsets, mask=inside, other=0).to(tl.float32)
        else:
            sign = _affine(value, mean, scale, shift)
        passed = _rectified(passed, sign)
        if SHORTCUT:
            tl.store(through + start + offsets, passed, mask=inside)
        level += passed
        slope += passed * ((value - mean[None, :]) * inverse[None, :])
    _store_partial(partial, tl.sum(level, 0), tl.sum(slope, 0), channel, C)


@triton.jit
def _input_gradient(
    grad,
    x,
    weight,
    bias,
    moments,
    partial,
    of_x,
    of_weight,
    of_bias,
    pixels,
    group_pixels,
    chunk,
    SHORTCUT: tl.constexpr,
    C: tl.constexpr,
    TILE_P: tl.constexpr,
    TILE_C: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """The gradients by x, weight and bias. With a shortcut, `grad` is what ReLU let through."""
    block, group = tl.program_id(0), tl.program_id(2)
    first, count = _pixels(pixels, group_pixels, chunk)
    channel, there = _channels(C, TILE_C)
    if (block == 0) & (group == 0):
        whole_level = tl.zeros([TILE_C], tl.float32)
        whole_slope = tl.zeros([TILE_C], tl.float32)
        for other in range(0, tl.num_programs(2)):
            levels, slopes = _load_partials(partial, other, channel, C, BLOCKS)
            whole_level += tl.sum(levels, 0)
            whole_slope += tl.sum(slopes, 0)
        tl.store(of_bias + channel, whole_level, mask=there)
        tl.store(of_weight + channel, whole_slope, mask=there)
    levels, slopes = _load_partials(partial, group, channel, C, BLOCKS)
    total = tl.minimum(group_pixels, pixels - group * group_pixels).to(tl.float32)
    level, slope = tl.sum(levels, 0) / total, tl.sum(slopes, 0) / total
    mean, inverse, scale, shift = _load_affine(moments, weight, bias, group, channel, C)
    start = first.to(tl.int64) * C
    for i in range(0, tl.cdiv(count, TILE_P)):
        offsets, inside = _tile(i, count, channel, C, TILE_P, TILE_C)
        value = tl.load(x + start + offsets, mask=inside, other=0).to(tl.float32)
        passed = tl.load(grad + start + offsets, mask=inside, other=0).to(tl.float32)
        if not SHORTCUT:
            passed = _rectified(passed, _affine(value, mean, scale, shift))
        normalized = (value - mean[None, :]) * inverse[None, :]
        gradient = scale[None, :] * (passed - level[None, :] - normalized * slope[None, :])
        tl.store(of_x + start + offsets, gradient, mask=inside)


@dataclass(frozen=True)
class Plan:
    """Which program has which part of the maps, by their shape alone."""

    pixels: int
    group_pixels: int
    """Of a ghost batch, of which the last may be smaller; of the whole batch without them."""
    chunk: int
    """Of a program: a whole number of tiles."""
    channels: int
    tile: tuple[int, int]
    """Pixels, channels; both powers of two."""
    grid: tuple[int, int, int]
    """Programs: runs of pixels in a group, tiles of channels, groups."""

    @classmethod
    def of(cls, shape: torch.Size, ghost_batch_size: int | None) -> "Plan":
        """For maps of a shape (n, channels, h, w), in groups of so many images where given."""
        images, channels, height, width = shape
        group = min(ghost_batch_size or images, images)
        pixels = group * height * width
        across = min(CHANNELS, triton.next_power_of_2(channels))
        down = TILE // across
        tiles, columns = triton.cdiv(pixels, down), triton.cdiv(channels, across)
        groups = triton.cdiv(images, group)
        shared = min(tiles, PARTIALS, max(1, PROGRAMS // (columns * groups)))
        chunk = triton.cdiv(tiles, shared) * down
        grid = triton.cdiv(pixels, chunk), columns, groups
        return cls(images * height * width, pixels, chunk, channels, (down, across), grid)

    @property
    def smallest(self) -> int:
        """Pixels of the smallest group: the last one."""
        return self.pixels - (self.grid[2] - 1) * self.group_pixels

    @property
    def sizes(self) -> tuple[int, int, int]:
        """What every kernel is called with."""
        return self.pixels, self.group_pixels, self.chunk

    @property
    def constants(self) -> dict[str, int]:
        """What every kernel is compiled for."""
        down, across = self.tile
        tile = {"C": self.channels, "TILE_P": down, "TILE_C": across}
        return {**tile, "num_warps": WARPS, "enable_fp_fusion": FUSION}

    @property
    def combining(self) -> dict[str, int]:
        """The same for a pass's second kernel, which combines the results of the first."""
        return {**self.constants, "BLOCKS": triton.next_power_of_2(self.grid[0])}

    def partials(self, x: Tensor) -> Tensor:
        """Room for two results of each program and channel, on the device of x."""
        blocks, _, groups = self.grid
        return x.new_empty((groups, 2, blocks, self.channels), dtype=torch.float32)


def rectify(norm: BatchNorm, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """ReLU of the normalized maps plus the shortcut, all (n, channels, h, w); moves the averages.

    float32 or bfloat16, on a CUDA device; what is not channels_last is copied. Raises ValueError
    where a channel has a single value, as torch does: its deviation would be 0.
    """
    plan = Plan.of(x.shape, norm.ghost)
    if plan.smallest == 1:
        groups = f" in groups of {norm.ghost} images" if norm.ghost else ""
        raise ValueError(
            "batch normalization needs more than one value per channel in training, and has maps "
            f"of shape {tuple(x.shape)}{groups}"
        )
    assert x.dtype in (torch.float32, torch.bfloat16)
    if shortcut is not None:
        shortcut = shortcut.to(x.dtype)
    y: Tensor = _Rectified.apply(x, shortcut, norm.weight, norm.bias, norm, plan)
    return y


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        norm: BatchNorm,
        plan: Plan,
    ) -> Tensor:
        x = _channels_last(x)
        added = x if shortcut is None else _channels_last(shortcut)
        y, partial = torch.empty_like(x), plan.partials(x)
        moments = partial.new_empty(plan.grid[2], 2, plan.channels)
        averages = norm.running_mean, norm.running_var
        _statistics[plan.grid](x, partial, *plan.sizes, **plan.constants)
        _normalize[plan.grid](
            *(x, added, weight, bias, *averages, partial, moments, y),
            *plan.sizes,
            norm.eps,
            # Of each group's moments this is to remain in the averages: together, `momentum`.
            cast(float, norm.momentum) / plan.grid[2],
            SHORTCUT=shortcut is not None,
            **plan.combining,
        )
        ctx.plan = plan
        ctx.save_for_backward(x, weight, bias, moments, None if shortcut is None else y)
        return y

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, None, None]:
        x, weight, bias, moments, y = ctx.saved_tensors
        plan: Plan = ctx.plan
        grad, partial, of_x = _channels_last(grad), plan.partials(x), torch.empty_like(x)
        of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
        # Without a shortcut, neither is read or written: any tensor may stand there.
        sign, through = (x, grad) if y is None else (y, torch.empty_like(x))
        _reductions[plan.grid](
            *(grad, x, sign, weight, bias, moments, through, partial),
            *plan.sizes,
            SHORTCUT=y is not None,
            **plan.constants,
        )
        _input_gradient[plan.grid](
            *(through, x, weight, bias, moments, partial, of_x, of_weight, of_bias),
            *plan.sizes,
            SHORTCUT=y is not None,
            **plan.combining,
        )
        return of_x, None if y is None else through, of_weight, of_bias, None, None


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
