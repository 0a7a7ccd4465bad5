"""1,202 layers: built in seconds, trained on a CPU with a small batch, at a cost that is linear."""

import pytest
import torch

from degradation.config.schema import Model
from degradation.models import resnet
from degradation.training import optimizer as optim
from degradation.training.step import training_step


def test_1202_residual_layers_train(small) -> None:
    first, second = two_losses("identity", small)
    assert first.isfinite() and second.isfinite()


def test_1202_plain_layers_overflow_float32_in_their_first_gradient(small) -> None:
    """Batch normalisation lets the gradient of a plain net grow by about a fifth a layer on its way
    down, here 1.2¹²⁰⁰ times: the first loss is fine, the second is no number, and that is a result.
    """
    first, second = two_losses("none", small)
    assert first.isfinite()
    assert not second.isfinite()


def two_losses(shortcut: str, small) -> tuple[torch.Tensor, torch.Tensor]:
    net = resnet.build(Model(shortcut, "back", 16), 1202, 1, 10, 0, "fan_in")
    optimizer = optim.build(net, small().recipe)
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(2, 1, 8, 8, generator=generator), torch.tensor([0, 1])
    losses = [training_step(net, optimizer, x, labels, "fp32")[0] for _ in range(2)]
    return losses[0].detach(), losses[1].detach()


def test_1202_layers_call_for_ten_times_the_operations_of_122() -> None:
    """Counted, not timed: the autograd graph grows linearly with depth."""
    counts = []
    for depth in (122, 1202):
        net = resnet.build(Model("identity", "back", 4), depth, 1, 10, 0, "fan_in")
        nodes, todo = set(), [net(torch.randn(2, 1, 8, 8)).grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                todo += [following for following, _ in node.next_functions]
        counts.append(len(nodes))
    assert counts[1] / counts[0] == pytest.approx(10, rel=0.02)
