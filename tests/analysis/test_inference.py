"""Intervals, p values and Holm's adjustment against known answers and measured rates."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats import inference
from analysis.stats.inference import format_effect

FIVE = [0.7, 1.1, 0.4, 0.9, 1.2]


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_interval_and_p_are_scipys_t_test(level: float) -> None:
    effect = inference.effect(FIVE, level)
    test = stats.ttest_1samp(FIVE, 0.5)
    expected = test.confidence_interval(1 - level)
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))
    assert inference.p_against(effect, 0.5) == pytest.approx(test.pvalue)
    assert effect.mean == pytest.approx(0.86)
    assert effect.n == 5


def test_an_effect_has_one_format() -> None:
    assert format_effect(inference.effect(FIVE)) == "+0.86 [+0.46, +1.26] n=5"
    assert format_effect(inference.effect(FIVE), 1) == "+0.9 [+0.5, +1.3] n=5"
    assert format_effect(inference.effect([-2.0])) == "-2.00 n=1"
    assert format_effect(inference.effect([])) == "n=0"


def test_equal_differences_have_the_least_spread() -> None:
    equal = inference.effect([0.28, 0.28, 0.28], least_spread=0.1)
    assert equal.spread == 0.1
    assert equal.high - equal.low == pytest.approx(2 * 4.303 * 0.1 / math.sqrt(3), abs=1e-3)
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


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9], [1, 1]),
        ([], []),
        ([0.01, math.nan, 0.04], [0.02, math.nan, 0.04]),
    ],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    assert list(inference.holm(p)) == pytest.approx(adjusted, nan_ok=True)
