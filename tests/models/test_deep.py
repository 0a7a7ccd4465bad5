"""1,202 layers: built in seconds, trained on a CPU with a small batch, at a cost that is linear."""

import pytest
import torch

from degradation.models import init
from degradation.training.state import State, fresh
from degradation.training.step import train_step


@pytest.mark.slow
def test_1202_residual_layers_train(small) -> None:
    first, second = two_losses(small(model__shortcut="identity", model__width=16, depth=1202))
    assert first.isfinite() and second.isfinite()


@pytest.mark.slow
def test_1202_plain_layers_overflow_float32_in_their_first_gradient(small) -> None:
    """Batch normalization lets the gradient of a plain net grow by about a fifth a layer on its way
    down, here 1.2¹²⁰⁰ times: the first loss is fine, the second is no number, and that is a result.
    """
    first, second = two_losses(small(model__width=16, depth=1202))
    assert first.isfinite()
    assert not second.isfinite()


class OneChannel:
    """What a network must know of its data."""

    channels, classes, digest = 1, 10, ""


def two_losses(config) -> list[torch.Tensor]:
    state: State = fresh(config, OneChannel(), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(2, 1, 8, 8, generator=generator), torch.tensor([0, 1])
    sums = []
    for _ in range(2):
        train_step(state, x, labels, "fp32")
        sums.append(state.row.loss.clone())
    return [sums[0], sums[1] - sums[0]]


def test_each_layer_adds_as_many_operations(small) -> None:
    """Counted, not timed: the autograd graph grows linearly with depth."""
    counts = []
    for depth in (26, 50, 74):
        net = init.build(small(model__shortcut="identity").model, depth, 1, 10, 0, "fan_in")
        nodes, todo = set(), [net(torch.randn(2, 1, 8, 8)).grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                todo += [following for following, _ in node.next_functions]
        counts.append(len(nodes))
    assert counts[2] - counts[1] == counts[1] - counts[0]
