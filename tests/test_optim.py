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


def test_a_plateau_is_so_many_rows_without_progress(small) -> None:
    recipe = small(recipe__plateau=3, recipe__plateau_gain=1.0, recipe__drops=[]).recipe
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
    with pytest.raises(schema.Invalid, match=r"recipe\.drops=\[6, 9\]: must be \[\] where"):
        small(recipe__plateau=3)


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
    """Torch's own first step starts the buffer with the bare gradient."""
    results = []
    for ours in (True, False):
        net = nn.Linear(3, 2)
        nn.init.ones_(net.weight)
        optimizer = optim.build(net, small().recipe)
        if not ours:
            optimizer.state.clear()
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.arange(3.0)).sum().backward()
            optimizer.step()
        results.append(net.weight.detach().clone())
    assert torch.equal(*results)


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
