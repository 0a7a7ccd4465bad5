"""1,202 layers: built in seconds, trained on a CPU with a small batch, at a cost that is linear."""

import pytest
import torch

from degradation.models import init
from degradation.training.devices.synthetic_run import noise
from degradation.training.state import fresh
from degradation.training.step import train_step


@pytest.mark.slow
@pytest.mark.parametrize("shortcut", ["identity", "none"])
def test_1202_residual_layers_train_and_plain_ones_overflow(shortcut: str, small) -> None:
    """Batch normalization lets the gradient of a plain net grow by about a fifth a layer on its way
    down, here 1.2¹²⁰⁰ times, past float32's range: the first loss is fine, the second is no number,
    and that is a result."""
    config = small(model__shortcut=shortcut, model__width=16, depth=1202)
    state = fresh(config, noise(2, side=8, channels=1), torch.device("cpu"))
    torch.manual_seed(0)
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    for step in range(2):
        train_step(state, x, labels, "fp32")
        assert state.row.loss.isfinite() == (step == 0 or shortcut == "identity")


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
