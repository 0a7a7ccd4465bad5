"""Errors by ten crops, by whole images at several scales, and with truly averaged statistics.

    ten crops      shorter side 256; the four corners and the center at 224, and their mirror
                   images; softmax averaged (Krizhevsky et al. 2012; the paper's Tables 2 and 3)
    scales         shorter side 224, 256, 384, 480, 640; the last maps are averaged over each
                   window that a crop of 224 would have had, the logits over all windows; softmax
                   averaged over mirror images and scales (Sec. 3.4; the paper doesn't say where
                   the softmax stands)

Everything takes uint8 images of (height, width, planes) and their labels, one after the other,
and `ready`, which makes of such a image what the network was trained on: float32, (planes,
height, width), the mean subtracted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from degradation.models.resnet import Network
from degradation.training.step import forward

CropImage = np.ndarray
Ready = Callable[[CropImage], Tensor]
Score = Callable[[Network, CropImage, Ready], Tensor]

HALVINGS = 32  # a image's side over that of the last maps


def resized(image: CropImage, shorter: int) -> CropImage:
    """`image` with its shorter side at `shorter`, bilinear, its form kept."""
    height, width = image.shape[:2]
    scale = shorter / min(height, width)
    size = (max(shorter, round(width * scale)), max(shorter, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def ten(image: CropImage, side: int) -> list[CropImage]:
    """Four corners and the center, then the mirror images of these five."""
    bottom, right = image.shape[0] - side, image.shape[1] - side
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    five = [image[y : y + side, x : x + side] for y, x in corners]
    return five + [crop[:, ::-1] for crop in five]


def by_ten_crops(side: int = 224, shorter: int = 256, precision: str = "fp32") -> Score:
    """Class probabilities, the mean of those of ten crops."""

    def score(network: Network, image: CropImage, ready: Ready) -> Tensor:
        x = torch.stack([ready(crop) for crop in ten(resized(image, shorter), side)])
        return forward(network, x, precision).softmax(1).mean(0)

    return score


def by_scales(scales: Sequence[int], side: int = 224) -> Score:
    """Class probabilities, the mean over scales and mirror images of whole images."""
    window = -(-side // HALVINGS)

    def score(network: Network, image: CropImage, ready: Ready) -> Tensor:
        found = []
        for shorter in scales:
            x = ready(resized(image, shorter))
            maps = network.features(torch.stack([x, x.flip(2)]))
            pooled = functional.avg_pool2d(maps, window, stride=1).mean((2, 3))
            found.append(network.linear(pooled).softmax(1).mean(0))
        return torch.stack(found).mean(0)

    return score


@torch.no_grad()
def errors(
    network: Network, images: Iterable[tuple[CropImage, int]], ready: Ready, score: Score
) -> dict[str, float]:
    """Top-1 and top-5 error in percent, and the number of images."""
    first = fifth = count = 0
    network.eval()
    for image, label in images:
        found = score(network, image, ready)
        best = found.topk(min(5, len(found))).indices.tolist()
        first += best[0] != label
        fifth += label not in best
        count += 1
    if not count:
        raise ValueError("no image to evaluate; give a folder whose val/ holds some")
    return {"top1": 100 * first / count, "top5": 100 * fifth / count, "images": count}


@contextmanager
def true_averages(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Within it, normalisation uses the mean and variance of all that `batches` bring to it.

    Each batch is normalised by its own statistics, as in training; a layer's variance over all of
    them is the mean of their variances plus the variance of their means. The authors did so after
    training; over how many images is not stated. Batches may differ in size.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    sums = [torch.zeros(2, m.num_features, dtype=torch.float64, device=m.weight.device)
            for m in norms]  # fmt: skip
    counts = [0] * len(norms)
    kept = [{k: b.clone() for k, b in m.named_buffers()} for m in norms]
    training = network.training

    def listener(i: int) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def listen(module: nn.Module, inputs: tuple[Tensor]) -> None:
            x = inputs[0].double()
            sums[i] += torch.stack([x.sum((0, 2, 3)), x.square().sum((0, 2, 3))])
            counts[i] += x.numel() // x.shape[1]

        return listen

    hooks = [m.register_forward_pre_hook(listener(i)) for i, m in enumerate(norms)]
    try:
        network.train()
        with torch.no_grad():
            for x in batches:
                network(x)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
        for norm, buffers in zip(norms, kept, strict=True):
            _fill(norm, buffers)
    if norms and not all(counts):
        raise ValueError("no batch to average over")
    for norm, (total, squares), count in zip(norms, sums, counts, strict=True):
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        _fill(norm, {"running_mean": mean, "running_var": variance})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            _fill(norm, buffers)


def _fill(norm: nn.Module, buffers: dict[str, Tensor]) -> None:
    for name, value in buffers.items():
        norm.get_buffer(name).copy_(value)
