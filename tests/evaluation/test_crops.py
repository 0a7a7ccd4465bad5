"""Ten crops, scales and true averages, each against a naive computation."""

import numpy as np
import pytest
import torch
from torch import Tensor

from degradation.config.schema import Model
from degradation.evaluation import multi_crop
from degradation.models.resnet import Network, build

MODEL = Model("identity", "back", 4, design="imagenet")
SIDE = 64


def ready(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() - 120


@pytest.fixture
def net() -> Network:
    network = build(MODEL, 18, 3, 7, 0, "fan_in")
    generator = torch.Generator().manual_seed(0)
    network.train()
    with torch.no_grad():
        network(60 * torch.randn(8, 3, SIDE, SIDE, generator=generator))
    return network.eval()


@pytest.fixture
def images() -> list[tuple[np.ndarray, int]]:
    draw = np.random.default_rng(0)
    shapes = ((80, 100, 3), (121, 77, 3), (64, 64, 3))
    return [(draw.integers(0, 256, shape, dtype=np.uint8), i) for i, shape in enumerate(shapes)]


def test_resizing_keeps_the_form() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    assert multi_crop.resized(image, 30).shape == (30, 60, 3)
    assert multi_crop.resized(image.transpose(1, 0, 2), 75).shape == (150, 75, 3)


@torch.no_grad()
def test_ten_crops_by_hand(net, images) -> None:
    for image, _ in images:
        whole = multi_crop.resized(image, 72)
        height, width = whole.shape[:2]
        total = torch.zeros(7)
        for y, x in ((0, 0), (0, width - 64), (height - 64, 0), (height - 64, width - 64),
                     ((height - 64) // 2, (width - 64) // 2)):  # fmt: skip
            for mirrored in (False, True):
                crop = ready(whole)[:, y : y + 64, x : x + 64]
                crop = torch.flip(crop, (2,)) if mirrored else crop
                total += torch.softmax(net(crop[None])[0], 0) / 10
        found = multi_crop.by_ten_crops(64, 72)(net, image, ready)
        torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_scales_by_hand(net, images) -> None:
    """The linear layer at each window of the last maps, a loop for each average."""
    for image, _ in images:
        total = torch.zeros(7)
        for scale in (64, 97, 130):
            for mirrored in (False, True):
                x = ready(multi_crop.resized(image, scale))[None]
                maps = net.features(torch.flip(x, (3,)) if mirrored else x)
                rows, columns = maps.shape[2] - 1, maps.shape[3] - 1
                logits = [net.linear(maps[:, :, i : i + 2, j : j + 2].mean((2, 3)))[0]
                          for i in range(rows) for j in range(columns)]  # fmt: skip
                total += torch.softmax(sum(logits) / len(logits), 0) / 6
        found = multi_crop.by_scales((64, 97, 130), 64)(net, image, ready)
        torch.testing.assert_close(found, total, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_one_scale_of_a_image_as_large_as_a_crop_is_the_network(net, images) -> None:
    image, _ = images[2]
    x = ready(image)
    wanted = net(torch.stack([x, x.flip(2)])).softmax(1).mean(0)
    torch.testing.assert_close(multi_crop.by_scales((64,), 64)(net, image, ready), wanted)


def test_errors_count_the_first_and_the_first_five(net, images) -> None:
    order = torch.tensor([6, 5, 4, 3, 2, 1, 0])  # class 0 is best, then 1 …
    found = multi_crop.errors(net, [(images[0][0], label) for label in (0, 1, 4, 5)], ready,
                         lambda *_: order.float())  # fmt: skip
    assert found == {"top1": 75.0, "top5": 25.0, "images": 4}
    with pytest.raises(ValueError, match="no image"):
        multi_crop.errors(net, [], ready, multi_crop.by_ten_crops())


def test_true_averages_are_those_of_all_pixels_and_leave_no_trace(net) -> None:
    """Batches of two sizes, of two means: an average of variances would miss what lies between."""
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(n, 3, SIDE, SIDE, generator=generator) * 9 + shift
               for n, shift in ((4, -50), (2, 80))]  # fmt: skip
    before = {k: b.clone() for k, b in net.named_buffers()}
    with torch.no_grad():
        seen = torch.cat([net.conv(x).double().permute(1, 0, 2, 3).flatten(1) for x in batches], 1)
    with multi_crop.true_averages(net, batches):
        norm = net.get_submodule("norm")
        torch.testing.assert_close(norm.running_mean.double(), seen.mean(1), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(norm.running_var.double(), seen.var(1, correction=0), rtol=1e-5,
                                   atol=1e-4)  # fmt: skip
        last = "blocks.stage4_1.norm2.running_mean"
        assert not torch.equal(net.get_buffer(last), before[last])
        assert not net.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    with pytest.raises(ValueError, match="no batch"), multi_crop.true_averages(net, []):
        pass
