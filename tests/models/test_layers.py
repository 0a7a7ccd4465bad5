"""The layers give what torch's give."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation.models.layers import BatchNorm, matmul_2x2


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_is_torchs_but_for_the_count(training: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for layer in (ours, theirs):
        layer.train(training)
    for x in torch.randn(2, 5, 3, 4, 4):
        assert torch.equal(ours(x), theirs(x))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert torch.equal(ours.running_var, theirs.running_var)
    assert int(ours.num_batches_tracked) == 0


def test_batch_normalization_leaves_no_choice_to_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 with channels_last its own kernels may overflow, and stall packed runs."""
    for owner, name in ((torch, "batch_norm"), (functional, "batch_norm")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("torch would choose"))
    BatchNorm(3)(torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize("groups", [2, 3])
def test_groups_are_normalized_apart_and_move_the_running_statistics_once(groups: int) -> None:
    """By the mean of what each group alone would move them by: it is what several processes with a
    group each and averaged averages come to."""
    torch.manual_seed(0)
    ghosts, alone = BatchNorm(3, ghost=2), [BatchNorm(3) for _ in range(groups)]
    for x in torch.randn(2, 2 * groups, 3, 5, 5):
        parts = torch.split(x, 2)
        apart = [layer(part) for layer, part in zip(alone, parts, strict=True)]
        assert torch.equal(ghosts(x), torch.cat(apart))
        for name in ("running_mean", "running_var"):
            mean = torch.stack([getattr(layer, name) for layer in alone]).mean(0)
            assert torch.allclose(getattr(ghosts, name), mean, rtol=1e-6)
            for layer in alone:
                getattr(layer, name).copy_(mean)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 5), (3, 7)])
def test_a_product_is_the_convolution_of_2x2_maps(
    inputs: int, outputs: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, inputs, 2, 2, dtype=torch.float64).to(memory_format=layout)
    weight = torch.randn(outputs, inputs, 3, 3, dtype=torch.float64)
    seen = torch.randn(6, outputs, 2, 2, dtype=torch.float64)

    def results(y: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        return (y, *torch.autograd.grad(y, leaves, seen))

    leaves = x.requires_grad_(), weight.requires_grad_()
    ours = results(matmul_2x2(*leaves), *leaves)
    theirs = results(functional.conv2d(*leaves, padding=1), *leaves)
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)
