"""Paired differences of a few seeds: mean, t interval, p against a bound, Holm's adjustment.

Everything is in percent points. Intervals are t intervals: at n = 5 they cover 95 %, bootstrap ones
85 %. Values that are not finite are left out and do not count. Student's distribution is taken from
`scipy.special`: `scipy.stats.ttest_1samp` gives the same intervals and takes 2 ms for each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """Paired differences of n seeds; NaN for what n does not allow."""

    n: int
    mean: float
    spread: float
    """Standard deviation between seeds, or the smallest one that is believed."""
    low: float
    high: float
    """The t interval of the mean."""


def effect(differences: ArrayLike, level: float = 0.05, least_spread: float = 0.0) -> Effect:
    """The mean difference with its 1 − `level` interval; a single difference has no interval.

    `least_spread` replaces a smaller standard deviation: equal differences of a few seeds do not
    show that the seed does not matter.
    """
    d = np.asarray(differences, dtype=float)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return Effect(len(d), float(d[0]) if len(d) else math.nan, *[math.nan] * 3)
    mean, spread = float(d.mean()), max(float(d.std(ddof=1)), least_spread)
    half = spread * (float(stdtrit(len(d) - 1, 1 - level / 2)) / math.sqrt(len(d)))
    return Effect(len(d), mean, spread, mean - half, mean + half)


def t_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % t interval of a mean, as seaborn's `errorbar`; none below three seeds.

    The interval of two seeds is wider than most figures.
    """
    found = effect(values)
    return (found.low, found.high) if found.n > 2 else (math.nan, math.nan)


def format_effect(effect: Effect, digits: int = 2) -> str:
    """`+1.40 [+0.90, +1.90] n=5`: an effect as verdict, report and findings show it."""
    if not effect.n:
        return "n=0"
    mean = f"{effect.mean:+.{digits}f}"
    if effect.n == 1:
        return f"{mean} n=1"
    return f"{mean} [{effect.low:+.{digits}f}, {effect.high:+.{digits}f}] n={effect.n}"


def p_against(effect: Effect, bound: float) -> float:
    """Two-sided p of the t test that the mean is `bound`.

    It is below the level exactly where the interval excludes `bound`; NaN below two seeds.
    """
    return _p(effect, abs(effect.mean - bound))


def p_within(effect: Effect, margin: float) -> float:
    """p that the mean is not outside ±`margin` (two one-sided tests).

    It is below the level exactly where the interval lies inside; NaN below two seeds.
    """
    return _p(effect, margin - abs(effect.mean))


def _p(effect: Effect, distance: float) -> float:
    if effect.n < 2:
        return math.nan
    if not (standard_error := effect.spread / math.sqrt(effect.n)):
        return 0.0 if distance > 0 else 1.0
    return min(1.0, 2 * float(stdtr(effect.n - 1, -distance / standard_error)))


def holm(p: Sequence[float]) -> Floats:
    """p values adjusted for their number, step-down (Holm 1979); NaN stays and does not count."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    order = [i for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * values[order]))
    return adjusted
