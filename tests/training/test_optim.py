"""The learning rate at each phase, and the optimizer."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from degradation.config import validation
from degradation.config.schema import Recipe
from degradation.system.paths import CONF
from degradation.training import optimizer as optim

PAPER = validation.read(
    Recipe, OmegaConf.to_container(OmegaConf.load(CONF / "recipe/cifar10.yaml"))
)


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)],
)
def test_the_papers_schedule(iteration: int, rate: float) -> None:
    assert optim.learning_rate(PAPER, iteration, warmup_end=0) == rate


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (0, 0.01),
        (399, 0.01),
        (400, 0.1),
        (401, 0.1),
        (31_999, 0.1),
        (32_000, 0.01),
        (48_000, 0.001),
    ],
)
def test_after_the_warm_up_the_rate_is_really_the_full_one(iteration: int, rate: float) -> None:
    """Well-known re-implementations stay at 0.01, or return to it."""
    assert optim.learning_rate(PAPER, iteration, warmup_end=400) == rate


def test_a_warm_up_that_has_not_ended_goes_on() -> None:
    assert optim.learning_rate(PAPER, 5_000, warmup_end=None) == 0.01


def test_a_plateau_is_so_many_rows_without_progress(small) -> None:
    recipe = small(
        recipe__plateau_patience=3, recipe__plateau_threshold=1.0, recipe__milestones=[]
    ).recipe
    errors = [90, 80, 79.5, 79.2, 78.9, 78, 77.5, 77.2, 77.1, 90, 91, 92, 93, 94]
    plateau = optim.Plateau()
    for row, error in enumerate(errors, 1):
        plateau.see(recipe, 4 * row, error)
    # 78.9 is progress beside 80, 78 beside 78.9 is none; what it was before a drop counts no more.
    assert plateau.dropped == [4 * 10, 4 * 14]
    rates = [optim.learning_rate(recipe, i, 0, plateau.dropped) for i in (39, 40, 55, 56)]
    assert rates == [0.05, 0.005, 0.005, 0.0005]
    idle = optim.Plateau()
    idle.see(small().recipe, 4, 90.0)
    assert idle == optim.Plateau()


def test_a_plateau_and_drops_are_two_answers(small) -> None:
    with pytest.raises(validation.ConfigError, match=r"recipe\.drops=\[6, 9\]: must be \[\] where"):
        small(recipe__plateau_patience=3)


def test_depths_that_warm_up() -> None:
    assert not optim.warms_up(PAPER, 56)
    assert optim.warms_up(PAPER, 110)
    assert optim.warms_up(PAPER, 1202)


def test_weight_decay_spares_vectors_only_where_asked(small) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    everything = optim.build(net, small().recipe)
    assert [g["weight_decay"] for g in everything.param_groups] == [1e-4]
    spared = optim.build(net, small(recipe__weight_decay_on_norm=False).recipe)
    sizes = [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in spared.param_groups]
    assert sizes == [(1e-4, [4]), (0.0, [1, 1, 1])]


@pytest.mark.parametrize(
    ("name", "kinds"), [("sgd", ["momentum"]), ("adamw", ["step", "exp_avg", "exp_avg_sq"])]
)
def test_moments_are_there_before_the_first_step_and_are_the_optimizers(
    name: str, kinds: list[str], small
) -> None:
    net = nn.Linear(3, 2, bias=False)
    optimizer = optim.build(net, small(recipe__optimizer=name).recipe)
    before = optim.moments(net, optimizer)
    assert list(before) == [f"{kind}.weight" for kind in kinds]
    net(torch.arange(3.0)).sum().backward()
    optimizer.step()
    assert all(torch.equal(t, before[n]) for n, t in optim.moments(net, optimizer).items())
    assert before[f"{kinds[-1]}.weight"].any()


def test_adamw_is_torchs(small) -> None:
    nets = [nn.Linear(3, 2, bias=False) for _ in range(2)]
    for net in nets:
        nn.init.ones_(net.weight)
    recipe = small(recipe__optimizer="adamw", recipe__lr=0.01).recipe
    theirs = torch.optim.AdamW(nets[1].parameters(), lr=0.01, weight_decay=1e-4)
    for optimizer, net in ((optim.build(nets[0], recipe), nets[0]), (theirs, nets[1])):
        for i in range(4):
            optimizer.zero_grad()
            net(torch.arange(3.0) + i).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("settings", [
    {}, {"nesterov": True}, {"momentum": 0.0}, {"decay_norm": False, "weight_decay": 0.01},
])  # fmt: skip
def test_sgd_is_torchs_bit_by_bit(settings: dict[str, Any], small) -> None:
    recipe = small(**{f"recipe__{key}": value for key, value in settings.items()}).recipe
    nets = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    spared = [p for p in nets[1].parameters() if p.ndim <= 1 and not recipe.weight_decay_on_norm]
    others = [p for p in nets[1].parameters() if p.ndim > 1 or recipe.weight_decay_on_norm]
    groups = [{"params": others, "weight_decay": recipe.weight_decay}, {"params": spared}]
    theirs = torch.optim.SGD([g for g in groups if g["params"]], lr=0.1, nesterov=recipe.nesterov,
                             momentum=recipe.momentum, fused=True)  # fmt: skip
    ours = optim.build(nets[0], recipe)
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for i in range(5):
        rate = torch.tensor(0.1 / (1 + i))
        optim.set_learning_rate(ours, rate)
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
from degradation.config import compose
from degradation.training import synthetic_run

words = ["data=digits", "depth=8", "recipe.batch_size=4"]
[settings] = compose.runs_of(words)
images = synthetic_run.noise(16, 8, 1)
synthetic_run.SyntheticRun(settings.config, images, torch.device("cpu"))
print(*sorted({"sympy", "torch._dynamo"} & sys.modules.keys()))
"""


def test_the_first_iteration_imports_no_compiler() -> None:
    """It would be a third of the time from a command to there."""
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
