"""The learning rate at each phase."""

import pytest

from degradation.config import validation
from degradation.config.overrides import content
from degradation.config.schema import Recipe
from degradation.training.schedule import Plateau, learning_rate, warms_up

PAPER = validation.read(Recipe, content("recipe", "cifar10"))


@pytest.mark.parametrize(
    ("warmup_end", "rates"),
    [
        (0, {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}),
        # Well-known re-implementations stay at 0.01 after the warm-up, or return to it.
        (400, {0: 0.01, 399: 0.01, 400: 0.1, 401: 0.1, 31_999: 0.1, 32_000: 0.01, 48_000: 0.001}),
        (None, {5_000: 0.01}),
    ],
)
def test_the_papers_schedule(warmup_end: int | None, rates: dict[int, float]) -> None:
    assert {i: learning_rate(PAPER, i, warmup_end) for i in rates} == rates


def test_a_plateau_is_so_many_rows_without_progress(small) -> None:
    rule = {"recipe__plateau_patience": 3, "recipe__plateau_threshold": 1.0}
    recipe = small(**rule, recipe__milestones=[]).recipe
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


def test_depths_that_warm_up() -> None:
    assert [warms_up(PAPER, depth) for depth in (56, 110, 1202)] == [False, True, True]
