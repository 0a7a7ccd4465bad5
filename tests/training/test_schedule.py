"""The learning rate at each phase."""

import pytest
from omegaconf import OmegaConf

from degradation.config import validation
from degradation.config.schema import Recipe
from degradation.system.paths import CONF
from degradation.training.schedule import Plateau, learning_rate, warms_up

PAPER = validation.read(
    Recipe, OmegaConf.to_container(OmegaConf.load(CONF / "recipe/cifar10.yaml"))
)


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)],
)
def test_the_papers_schedule(iteration: int, rate: float) -> None:
    assert learning_rate(PAPER, iteration, warmup_end=0) == rate


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
    assert learning_rate(PAPER, iteration, warmup_end=400) == rate


def test_a_warm_up_that_has_not_ended_goes_on() -> None:
    assert learning_rate(PAPER, 5_000, warmup_end=None) == 0.01


def test_a_plateau_is_so_many_rows_without_progress(small) -> None:
    recipe = small(
        recipe__plateau_patience=3, recipe__plateau_threshold=1.0, recipe__milestones=[]
    ).recipe
    errors = [90, 80, 79.5, 79.2, 78.9, 78, 77.5, 77.2, 77.1, 90, 91, 92, 93, 94]
    plateau = Plateau()
    for row, error in enumerate(errors, 1):
        plateau.see(recipe, 4 * row, error)
    # 78.9 is progress beside 80, 78 beside 78.9 is none; what it was before a drop counts no more.
    assert plateau.dropped == [4 * 10, 4 * 14]
    rates = [learning_rate(recipe, i, 0, plateau.dropped) for i in (39, 40, 55, 56)]
    assert rates == [0.05, 0.005, 0.005, 0.0005]
    idle = Plateau()
    idle.see(small().recipe, 4, 90.0)
    assert idle == Plateau()


def test_a_plateau_and_drops_are_two_answers(small) -> None:
    with pytest.raises(
        validation.ConfigError, match=r"recipe\.milestones=\[6, 9\]: must be \[\] where"
    ):
        small(recipe__plateau_patience=3)


def test_depths_that_warm_up() -> None:
    assert not warms_up(PAPER, 56)
    assert warms_up(PAPER, 110)
    assert warms_up(PAPER, 1202)
