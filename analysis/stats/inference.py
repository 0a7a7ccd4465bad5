"""Paired differences of a few seeds: mean, interval, exact test, and how many seeds would do.

Everything is in percent points. Intervals are t intervals: at n = 5 they cover 95 %, bootstrap ones
85 %. A sign-flip test of n differences can't give a p below 2/2**n, so that number stands beside
each p: five seeds never reach 0.05. Values that are no number are left out and don't count.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
Spread = TypeVar("Spread", float, "pd.Series[float]")

EXACT = 16  # differences of which all sign patterns are tried: 2**15 of them, by symmetry
DRAWS = 4999  # random patterns beyond, from a fixed seed
MOST_SEEDS = 200  # no one trains more; beyond it "needs k more seeds" says nothing


@dataclass(frozen=True)
class Effect:
    """Paired differences of n seeds; NaN for what n doesn't allow."""

    n: int
    mean: float
    spread: float
    """Standard deviation between seeds, or the least that is believed."""
    low: float
    high: float
    """The t interval of the mean."""
    p: float
    """Of the sign-flip test against no difference, two-sided."""
    p_holm: float
    """The same, adjusted for the other depths."""
    smallest_p: float
    """The least p that n differences can reach."""

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return self.spread / math.sqrt(self.n) if self.n else math.nan


def effect(differences: ArrayLike, level: float = 0.05, least_spread: float = 0.0) -> Effect:
    """The mean difference with its 1 − `level` interval; one difference has none.

    `least_spread`: equal differences of few seeds don't show that seeds don't matter, so a smaller
    standard deviation is replaced by it.
    """
    d = np.asarray(differences, dtype=float)
    d = d[np.isfinite(d)]
    n, nan = len(d), math.nan
    if n < 2:
        mean = float(d[0]) if n else nan
        return Effect(n, mean, nan, nan, nan, nan, nan, smallest_p(n))
    mean, spread = float(d.mean()), max(float(d.std(ddof=1)), least_spread)
    half = half_width(spread, n, level)
    p = sign_flip(d)
    return Effect(n, mean, spread, mean - half, mean + half, p, p, smallest_p(n))


def half_width(spread: Spread, n: int, level: float = 0.05) -> Spread:
    """Half a t interval: of the mean of n >= 2 values with standard deviation `spread`."""
    return spread * (float(stdtrit(n - 1, 1 - level / 2)) / math.sqrt(n))


def over_depths(effects: Sequence[Effect]) -> list[Effect]:
    """The same effects, each with its p adjusted for all of them."""
    adjusted = holm([e.p for e in effects])
    return [dataclasses.replace(e, p_holm=float(p)) for e, p in zip(effects, adjusted, strict=True)]


def p_against(effect: Effect, bound: float) -> float:
    """Two-sided p of the t test that the mean is `bound`: below the level exactly where the
    interval excludes `bound`. NaN below two seeds."""
    return _p(effect, abs(effect.mean - bound))


def p_within(effect: Effect, margin: float) -> float:
    """p that the mean isn't outside ±`margin` (two one-sided tests): below the level exactly where
    the interval lies inside. NaN below two seeds."""
    return _p(effect, margin - abs(effect.mean))


def _p(effect: Effect, distance: float) -> float:
    if effect.n < 2:
        return math.nan
    if effect.error == 0:
        return 0.0 if distance > 0 else 1.0
    return min(1.0, 2 * float(stdtr(effect.n - 1, -distance / effect.error)))


def holm(p: Sequence[float]) -> Floats:
    """p values adjusted for their number, step-down (Holm 1979); NaN stays and doesn't count."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    order = [i for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * values[order]))
    return adjusted


def sign_flip(differences: Floats) -> float:
    """Two-sided p that the mean is 0, if each difference could as well have the other sign.

    Exact up to EXACT differences; beyond, over DRAWS random sign patterns and the observed one.
    """
    n = len(differences)
    size = np.abs(differences).sum()
    if n == 0 or size == 0:
        return 1.0
    sums = np.abs(_signs(n) @ differences)
    as_far = sums >= abs(differences.sum()) - 1e-9 * size  # rounding is no difference
    return float(as_far.mean()) if n <= EXACT else float((1 + as_far.sum()) / (1 + DRAWS))


@cache
def _signs(n: int) -> Floats:
    """A sign pattern a line; the first sign is + where all are tried: |sum| is the same for −."""
    if n > EXACT:
        return np.random.default_rng(n).choice(np.array([-1.0, 1.0]), (DRAWS, n))
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
    return np.where(bits, -1.0, 1.0)


def smallest_p(n: int) -> float:
    """The least p that a sign-flip test of n differences reaches: 2/2**n, where all are tried."""
    return min(1.0, 2.0 ** (1 - n)) if n <= EXACT else 1 / (1 + DRAWS)


def seeds_to_reach(tests: int = 1, level: float = 0.05) -> int:
    """The fewest seeds whose smallest reachable p, after Holm over `tests`, is below `level`."""
    return math.floor(math.log2(2 * tests / level)) + 1


def seeds_to_separate(distance: float, spread: float, level: float, power: float) -> int | None:
    """The fewest seeds with which a t interval clears a bound at `distance` from the mean.

    An estimate that takes mean and spread as they were observed: with n seeds the interval clears
    it with probability `power`. None where it isn't known, or is above MOST_SEEDS.
    """
    enough = np.flatnonzero(_reach(level, power) * spread <= distance)
    return int(enough[0]) + 2 if len(enough) else None


@cache
def _reach(level: float, power: float) -> Floats:
    """For 2, 3, … seeds: the distance, in standard deviations, that they clear with `power`."""
    n = np.arange(2, MOST_SEEDS + 1)
    quantiles = stdtrit(n - 1, 1 - level / 2) + stdtrit(n - 1, power)
    return np.asarray(quantiles / np.sqrt(n), dtype=float)


@dataclass(frozen=True)
class Needed:
    """How many seeds more; 0: none."""

    test: int
    """Until the smallest reachable p of the sign-flip test, after Holm, can be below the level."""
    interval: int | None
    """Until the interval clears its bound; None where unknown, or more than MOST_SEEDS in all."""


def seeds_needed(
    effect: Effect, distance: float, tests: int = 1, level: float = 0.05, power: float = 0.8
) -> Needed:
    """How many more seeds an effect needs, one of `tests`, whose bound is at `distance` from it."""
    separate = seeds_to_separate(distance, effect.spread, level / tests, power)
    return Needed(
        max(0, seeds_to_reach(tests, level) - effect.n),
        None if separate is None else max(0, separate - effect.n),
    )
