"""The optimizer: torch's arithmetic, in tensors that a CUDA graph can go on with."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from degradation.training import optimizer as optim

SPARED = {"weight_decay_on_norm": False, "weight_decay": 0.01}


@pytest.mark.parametrize("settings", [{}, {"nesterov": True}, {"momentum": 0.0}, SPARED])
def test_sgd_is_torchs_bit_by_bit(settings: dict[str, Any], small) -> None:
    recipe = small(**{f"recipe__{key}": value for key, value in settings.items()}).recipe
    nets = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    spared = [p for p in nets[1].parameters() if p.ndim <= 1 and not recipe.weight_decay_on_norm]
    others = [p for p in nets[1].parameters() if p.ndim > 1 or recipe.weight_decay_on_norm]
    groups = [{"params": others, "weight_decay": recipe.weight_decay}, {"params": spared}]
    groups, options = [g for g in groups if g["params"]], {"nesterov": recipe.nesterov}
    theirs = torch.optim.SGD(groups, lr=0.1, momentum=recipe.momentum, fused=True, **options)
    ours = optim.build(nets[0], recipe)
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for i in range(5):
        rate = torch.tensor(0.1 / (1 + i))
        optim.learning_rate_tensor(ours).copy_(rate)
        for group in theirs.param_groups:
            group["lr"] = float(rate)
        for net, optimizer in ((nets[0], ours), (nets[1], theirs)):
            optimizer.zero_grad()
            if i == 2:  # a parameter without a gradient stays where it is
                net[2](net[0](x).flatten(1).detach()).square().sum().backward()
            else:
                net(x).square().sum().backward()
            optimizer.step()
        for mine, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(mine, other)


STEP = """
import sys, torch
from tests.conftest import small
from degradation.training.devices.synthetic_run import SyntheticRun, noise

SyntheticRun(small(recipe__batch_size=4), noise(16, 8, 1), torch.device("cpu"))
print(*sorted({"sympy", "torch._dynamo"} & sys.modules.keys()))
"""


def test_the_first_iteration_imports_no_compiler() -> None:
    """It would be a third of the time from a command to there."""
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
