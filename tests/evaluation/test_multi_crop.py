"""Ten crops, scales and true averages, each against a naive computation."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from degradation.config.schema import Model
from degradation.evaluation import multi_crop
from degradation.models.init import build
from degradation.models.resnet import Network

SIDE = 64


def prepare(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() - 120


@pytest.fixture
def net() -> Network:
    network = build(Model("identity", "back", 4, design="imagenet"), 18, 3, 7, 0, "fan_in")
    torch.manual_seed(0)
    with torch.no_grad():
        network.train()(60 * torch.randn(8, 3, SIDE, SIDE))
    return network.eval()


@pytest.fixture
def images() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    shapes = ((80, 100, 3), (121, 77, 3), (64, 64, 3))
    return [Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


@torch.no_grad()
def test_ten_crops_by_hand(net, images) -> None:
    wanted = []
    for image in images:
        whole = prepare(multi_crop.resized(image, 72)[None])
        bottom, right = whole.shape[2] - 64, whole.shape[3] - 64
        total = torch.zeros(7)
        for y, x in [*product((0, bottom), (0, right)), (bottom // 2, right // 2)]:
            crop = whole[:, :, y : y + 64, x : x + 64]
            total += sum(torch.softmax(net(c)[0], 0) for c in (crop, crop.flip(3))) / 10
        wanted.append(total)
    batch = default_collate([multi_crop.ten_crops(image, 64, 72) for image in images])
    found = multi_crop.probabilities(net, batch, prepare)
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_scales_by_hand(net, images) -> None:
    """The linear layer at each window of the last maps, a loop for each average."""
    dense = multi_crop.FullyConvolutional(net, 64)
    for image in images:
        total = torch.zeros(7)
        for scale in (64, 97, 130):
            x = prepare(multi_crop.resized(image, scale)[None])
            for view in (x, x.flip(3)):
                maps = net.features(view)
                logits = [
                    net.linear(maps[:, :, i : i + 2, j : j + 2].mean((2, 3)))[0]
                    for i in range(maps.shape[2] - 1)
                    for j in range(maps.shape[3] - 1)
                ]
                total += torch.softmax(sum(logits) / len(logits), 0) / 6
        batch = default_collate([multi_crop.scales(image, (64, 97, 130))])
        found = multi_crop.probabilities(dense, batch, prepare)
        torch.testing.assert_close(found[0], total, rtol=1e-4, atol=1e-6)


def test_errors_count_the_first_and_the_first_five() -> None:
    order = torch.tensor([[6, 5, 4, 3, 2, 1, 0]]).float()  # class 0 is best, then 1 …
    batches = [([], torch.tensor([label])) for label in (0, 1, 4, 5)]
    found = multi_crop.errors(batches, lambda _: order)
    assert found == {"top1": 75.0, "top5": 25.0, "images": 4}


def test_true_averages_are_means_over_batches_and_leave_no_trace(net) -> None:
    torch.manual_seed(1)
    batches = [torch.randn(4, 3, SIDE, SIDE) * 9 + shift for shift in (-50, 20, 80)]
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with torch.no_grad():
        seen = [net.conv(x).permute(1, 0, 2, 3).flatten(1) for x in batches]
    with multi_crop.true_averages(net, batches):
        norm = net.get_submodule("norm")
        means, variances = ([part.mean(1) for part in seen], [part.var(1) for part in seen])
        wanted = [torch.stack(parts).mean(0) for parts in (means, variances)]
        found = [norm.running_mean, norm.running_var]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        last = "blocks.stage4_1.norm2.running_mean"
        assert not torch.equal(net.get_buffer(last), before[last])
        assert not net.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert norm.momentum == 0.1
