"""Intervals, exact tests and numbers of seeds against known answers and measured rates."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats import inference

FIVE = [0.7, 1.1, 0.4, 0.9, 1.2]


def test_the_interval_is_the_t_interval() -> None:
    effect = inference.effect(FIVE)
    expected = stats.ttest_1samp(FIVE, 0).confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    assert effect.mean == pytest.approx(0.86)
    assert effect.n == 5


def test_five_seeds_cover_95_percent() -> None:
    d = np.random.default_rng(1).normal(size=(4000, 5))
    half = inference.half_width(1.0, 5) * d.std(axis=1, ddof=1)
    covered = (abs(d.mean(axis=1)) < half).mean()
    assert covered == pytest.approx(0.95, abs=0.01)  # measured: 0.957


def test_few_seeds_are_never_dressed_up() -> None:
    none, one = inference.effect([]), inference.effect([2.0])
    assert (none.n, one.n, one.mean) == (0, 1, 2.0)
    for value in (none.mean, none.low, one.low, one.high, one.spread, one.p):
        assert math.isnan(value)
    assert math.isnan(inference.p_against(one, 0))
    assert math.isnan(inference.p_within(one, 0.5))


def test_what_is_no_number_does_not_count() -> None:
    assert inference.effect([1.0, math.nan, 3.0]) == inference.effect([1.0, 3.0])


def test_equal_differences_have_the_least_spread() -> None:
    equal = inference.effect([0.28, 0.28, 0.28], least_spread=0.1)
    assert equal.spread == 0.1
    assert equal.high - equal.low == pytest.approx(2 * inference.half_width(0.1, 3))
    assert inference.effect(FIVE, least_spread=0.1) == inference.effect(FIVE)
    zero = inference.effect([0.28, 0.28, 0.28])
    assert (zero.low, zero.high) == pytest.approx((0.28, 0.28))
    assert (inference.p_against(zero, 0), inference.p_against(zero, zero.mean)) == (0, 1)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_p_and_interval_agree(level: float) -> None:
    for d in np.random.default_rng(2).normal(0.4, 0.3, (200, 4)):
        effect = inference.effect(d, level)
        outside = not effect.low <= 0.5 <= effect.high
        assert (inference.p_against(effect, 0.5) < level) == outside
        within = effect.low > -0.5 and effect.high < 0.5
        assert (inference.p_within(effect, 0.5) < level) == within


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_sign_flips_are_scipys_exact_permutations(n: int) -> None:
    d = np.random.default_rng(n).normal(0.5, 1, n)
    expected = stats.permutation_test(
        (d, np.zeros(n)), lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert inference.sign_flip(d) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "least"), [(1, 1), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_is_reached_and_no_other(n: int, least: float) -> None:
    assert inference.smallest_p(n) == least
    assert inference.sign_flip(np.arange(1.0, n + 1)) == least


def test_ties_count_and_rounding_does_not() -> None:
    assert inference.sign_flip(np.array([0.1, 0.2, -0.3])) == 1
    assert inference.sign_flip(np.array([0.1, 0.2, 0.3])) == 0.25
    assert inference.sign_flip(np.zeros(4)) == 1
    assert inference.sign_flip(np.array([0.0, 0.0, 1.0])) == 1


def test_many_differences_are_drawn() -> None:
    d = np.random.default_rng(3).normal(0.3, 1, 60)
    assert inference.sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)
    assert inference.sign_flip(d + 9) == inference.smallest_p(60) == 1 / 5000


def test_sign_flips_keep_their_level() -> None:
    d = np.random.default_rng(4).standard_t(3, (2000, 8))
    assert np.mean([inference.sign_flip(row) < 0.05 for row in d]) <= 0.06  # measured: 0.041


def test_holm() -> None:
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert inference.holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert inference.holm([]).size == 0


def test_holm_does_not_count_what_is_missing() -> None:
    adjusted = inference.holm([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])


def test_effects_are_adjusted_for_one_another() -> None:
    effects = inference.over_depths([inference.effect(d) for d in (FIVE, [1.0], FIVE)])
    assert [e.p_holm for e in effects] == pytest.approx([0.125, math.nan, 0.125], nan_ok=True)
    assert effects[0].p == 0.0625


@pytest.mark.parametrize("tests", range(1, 12))
def test_the_fewest_seeds_that_can_reach_the_level(tests: int) -> None:
    n = inference.seeds_to_reach(tests)
    assert tests * inference.smallest_p(n) < 0.05 <= tests * inference.smallest_p(n - 1)


def test_six_seeds_for_one_test() -> None:
    assert inference.seeds_to_reach() == 6


@pytest.mark.parametrize("distance", [0.3, 0.6, 1.5])
def test_the_seeds_that_are_needed_would_do(distance: float) -> None:
    n = inference.seeds_to_separate(distance, 0.5, 0.05, 0.8)
    assert n is not None
    rng = np.random.default_rng(5)

    def power(seeds: int) -> float:
        d = rng.normal(distance, 0.5, (4000, seeds))
        half = inference.half_width(1.0, seeds) * d.std(axis=1, ddof=1)
        return float((d.mean(axis=1) > half).mean())

    assert power(n) >= 0.78  # measured: 0.81, 0.83, 0.96 with 24, 8, 4
    assert power(n - 1) < 0.82


def test_seeds_that_no_one_trains_are_not_named() -> None:
    assert inference.seeds_to_separate(0.01, 1, 0.05, 0.8) is None
    assert inference.seeds_to_separate(0.0, 1, 0.05, 0.8) is None
    assert inference.seeds_to_separate(1.0, math.nan, 0.05, 0.8) is None


def test_more_seeds_are_counted_from_those_there_are() -> None:
    needed = inference.seeds_needed(inference.effect(FIVE), 0.86, tests=4)
    assert needed.test == 3  # eight in all: 4 * 2 / 2**8 < 0.05
    assert needed.interval == 0
    alone, among = (inference.seeds_needed(inference.effect(FIVE), 0.2, tests=t) for t in (1, 6))
    assert alone.interval is not None
    assert among.interval is not None
    assert alone.interval < among.interval
    assert inference.seeds_needed(inference.effect([1.0]), 1.0) == inference.Needed(5, None)
