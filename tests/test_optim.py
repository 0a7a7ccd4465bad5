"""The learning rate at each phase, and the optimizer."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from degradation import optim, schema
from degradation.places import CONF
from degradation.spec import Recipe

PAPER = schema.read(Recipe, OmegaConf.to_container(OmegaConf.load(CONF / "recipe/cifar10.yaml")))


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


def test_depths_that_warm_up() -> None:
    assert not optim.warms_up(PAPER, 56)
    assert optim.warms_up(PAPER, 110)
    assert optim.warms_up(PAPER, 1202)


def test_weight_decay_spares_vectors_only_where_asked(small) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    everything = optim.build(net, small().recipe)
    assert [g["weight_decay"] for g in everything.param_groups] == [1e-4]
    spared = optim.build(net, small(recipe__decay_norm=False).recipe)
    sizes = [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in spared.param_groups]
    assert sizes == [(1e-4, [4]), (0.0, [1, 1, 1])]


def test_zero_momenta_are_what_the_first_step_assumes(small) -> None:
    """A restored buffer of zeros and a missing one give the same steps."""
    results = []
    for touch in (False, True):
        net = nn.Linear(3, 2)
        nn.init.ones_(net.weight)
        optimizer = optim.build(net, small().recipe)
        if touch:
            optim.momenta(net, optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.arange(3.0)).sum().backward()
            optimizer.step()
        results.append(net.weight.detach().clone())
    assert torch.equal(*results)
