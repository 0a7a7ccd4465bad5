"""Errors by ten crops and by whole images at several scales, and batch normalization's averages.

    ten crops      shorter side 256; the four corners and the center at 224, and their mirror
                   images; softmax averaged (Krizhevsky et al. 2012; the paper's Tables 2 and 3)
    scales         shorter side 224, 256, 384, 480, 640; the last maps are averaged over each
                   window that a crop of 224 would have had, the logits over all windows; softmax
                   averaged over mirror images and scales (Sec. 3.4; the paper doesn't say where
                   the softmax stands)

The workers of torch's DataLoader decode, resize and crop: an image becomes a list of uint8 tensors
(views, height, width, 3), and a batch of images a list of tensors (images, views, height, width,
3). Images at scales come one by one, since their sizes differ.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from degradation.data.image_folder import decode
from degradation.models.resnet import Network, forward

Views = list[Tensor]

REDUCTION = 32
"""Side of an image over that of a network's last maps."""


def read_views(path: Path, views: Callable[[Image.Image], Views]) -> Views:
    """The views of the image in a file. Raises DecodeError."""
    with decode.opened(path) as image:
        return views(image)


def resized(image: Image.Image, shorter: int) -> Tensor:
    """uint8 (height, width, 3): the image with its shorter side at `shorter`, bilinear."""
    size = decode.resized_size(*image.size, shorter)
    return torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR)))


def ten_crops(image: Image.Image, side: int = 224, shorter: int = 256) -> Views:
    """One tensor (10, side, side, 3): four corners and the center, then their mirror images."""
    whole = resized(image, shorter)
    bottom, right = whole.shape[0] - side, whole.shape[1] - side
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = torch.stack([whole[y : y + side, x : x + side] for y, x in corners])
    return [torch.cat([crops, crops.flip(2)])]


def scales(image: Image.Image, shorter_sides: Sequence[int]) -> Views:
    """A tensor (2, height, width, 3) for each scale: the whole image and its mirror image."""
    wholes = [resized(image, shorter) for shorter in shorter_sides]
    return [torch.stack([whole, whole.flip(1)]) for whole in wholes]


def probabilities(
    network: nn.Module, batch: Views, prepare: Callable[[Tensor], Tensor], precision: str = "fp32"
) -> Tensor:
    """Of each class, (images, classes): the mean over all views of an image.

    `prepare` makes of uint8 (n, height, width, 3) what the network was trained on.
    """
    found = []
    for views in batch:
        logits = forward(network, prepare(views.flatten(0, 1)), precision)
        found.append(logits.softmax(1).view(*views.shape[:2], -1))
    return torch.cat(found, 1).mean(1)


class FullyConvolutional(nn.Module):
    """A network applied at each window of its last maps that a crop of `side` would have had;
    logits (n, classes), their mean."""

    def __init__(self, network: Network, side: int) -> None:
        super().__init__()
        self.network, self.window = network, -(-side // REDUCTION)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.network.features(x)
        # The linear layer of the mean over windows is the mean of the linear layer's outputs.
        pooled = functional.avg_pool2d(maps, self.window, stride=1).mean((2, 3))
        logits: Tensor = self.network.linear(pooled)
        return logits


@torch.no_grad()
def errors(
    batches: Iterable[tuple[Views, Tensor]], score: Callable[[Views], Tensor]
) -> dict[str, float]:
    """Top-1 and top-5 error in percent, and how many images; `score` gives class probabilities."""
    top1 = top5 = count = 0
    for views, labels in batches:
        found = score(views).cpu()
        hits = found.topk(min(5, found.shape[1])).indices == labels[:, None]
        top1 += int((~hits[:, 0]).sum())
        top5 += int((~hits.any(1)).sum())
        count += len(labels)
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "images": count}


@contextmanager
def true_averages(
    network: nn.Module, batches: Iterable[Tensor], precision: str = "fp32"
) -> Iterator[None]:
    """Inside it, normalization uses averages over all of `batches` in place of the running ones.

    Each batch is normalized by its own statistics, as in training, and counts alike: the mean of
    the batches' means and the mean of their variances, as `torch.optim.swa_utils.update_bn` takes
    them (which needs layers that count their batches; those here don't). The variance between the
    batches' means is left out: of n images a batch, it is at most an n-th of the whole. The authors
    took such averages after training; over how many images is not stated.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    state = {name: buffer.clone() for name, buffer in network.named_buffers()}
    momenta, training = [norm.momentum for norm in norms], network.training
    try:
        network.train()
        with torch.no_grad():
            for count, x in enumerate(batches, 1):
                for norm in norms:
                    norm.momentum = 1 / count
                forward(network, x, precision)
        network.train(training)
        yield
    finally:
        network.train(training)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for name, buffer in network.named_buffers():
            buffer.copy_(state[name])
