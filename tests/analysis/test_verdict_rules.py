"""The rules on differences whose truth is known: each word, few seeds, divergence, rates.

RATES, measured on 1,000 studies of five seeds each ("wrong": a step of the study has a word that is
decided and not true):

    no effect, seven steps, spread between seeds 0.1, 0.3, 1 point   0.0, 0.2, 0.3 % wrong
    no effect, errors in whole images of 0.28 points               1.0 % wrong
    no effect, one step                                              1.3 % wrong
    train error up by just the margin, one step                      2.5 % degradation
    the paper's plain arm, 20 to 56 of four steps, spread 0.3        100 % degradation
    its residual arm, 56 to 110, spread 0.16 as in Table 6           95 % benefit
    its residual arm, 110 to 1202, likewise                          92 % overfitting
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from analysis.frames import pairs
from analysis.frames.pairs import END
from analysis.stats import claims, verdict_rules
from analysis.stats.verdict_rules import Rule, Step

DEPTHS = (20, 32, 44, 56, 110)


def step(train: ArrayLike, test: ArrayLike, **more: Any) -> Step:
    effects = Rule().effects(np.array(train, float), np.array(test, float))
    return Step("plain", 20, 56, END, *effects, **more)


def judged(train: ArrayLike, test: ArrayLike, **more: Any) -> Step:
    """The verdict on one step alone."""
    rule = more.pop("rule", Rule())
    (found,) = verdict_rules.judge_steps([step(train, test, **more)], rule)
    return found


def around(mean: float, n: int = 5, spread: float = 0.2) -> list[float]:
    """n differences with this mean and spread."""
    d = np.linspace(-1, 1, n)
    return list(mean + spread * d / d.std(ddof=1))


# ---- each word


@pytest.mark.parametrize(
    ("train", "test", "word"),
    [
        (4, 3, "degradation"),
        (4, -3, "degradation"),
        (0, 1.3, "overfitting"),
        (-1, 1.3, "overfitting"),
        (0, -0.5, "benefit"),
        (-1, -0.5, "benefit"),
        (0, 0, "no difference"),
        # A test error that rises as the train error does, both little.
        (0.25, 0.2, "no difference"),
        (0.55, 1, "undecided"),
        (0.4, -1, "undecided"),
        (0.2, 0.6, "overfitting"),
    ],
)
def test_each_word(train: float, test: float, word: str) -> None:
    found = judged(around(train), around(test)[::-1] if test < train else around(test))
    assert found.word == word


def test_the_interval_is_what_decides() -> None:
    width = judged(around(0), around(0)).train.high
    assert judged(around(0.5 + width + 0.01), around(0)).word == "degradation"
    assert judged(around(0.5 + width - 0.01), around(0)).word == "undecided"
    assert judged(around(0.5 - width - 0.01), around(-1)).word == "benefit"
    assert judged(around(0.5 - width + 0.01), around(-1)).word == "undecided"
    assert judged(around(0), around(-width - 0.01)).test_is == "down"
    assert judged(around(0), around(-width + 0.01)).test_is == "equal"


def test_the_margin_is_the_readers() -> None:
    train, test = around(0.8), around(0.6)
    assert judged(train, test).word == "degradation"
    assert judged(train, test, rule=Rule(margin=0.7)).word == "undecided"
    assert judged(train, test, rule=Rule(margin=2)).train_is == "not up"
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin="):
            Rule(margin=margin)


# ---- few seeds


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(n: int) -> None:
    found = judged([50.0] * n, [50.0] * n)
    assert (found.word, found.shows) == ("undecided", "degradation")
    assert found.why == f"n={n} is too small, at least 3 seeds decide"


@pytest.mark.parametrize("n", [3, 5])
def test_equal_seeds_decide_by_the_least_spread(n: int) -> None:
    assert judged([0.0] * n, [0.0] * n).word == "no difference"
    assert judged([0.7] * n, [0.0] * n).word == ("degradation" if n == 5 else "undecided")


def test_a_step_among_many_needs_more() -> None:
    """Holm: an interval that just clears its bound decides alone, and not among six."""
    close = step(around(0.5 + 0.3), around(0))
    idle = [step(around(0.5), around(0)) for _ in range(5)]
    (alone,) = verdict_rules.judge_steps([close], Rule())
    among = verdict_rules.judge_steps([close, *idle], Rule())[0]
    assert (alone.word, among.word) == ("degradation", "undecided")
    assert among.train.low > 0.5
    empty = [step([1.0], [1.0])] * 5  # too few seeds to be a test
    beside = verdict_rules.judge_steps([close, *empty], Rule())[0]
    assert beside.word == "degradation"


# ---- runs that diverged


@pytest.mark.parametrize(
    ("train", "test", "shallow", "deep", "word"),
    [
        (4, 3, 0, 2, "degradation"),  # the runs that are missing could only add to it
        (4, 3, 2, 0, "undecided"),
        (0, -1, 2, 0, "benefit"),
        (0, -1, 0, 2, "undecided"),
        (0, 1, 2, 0, "undecided"),
        (0, 1, 0, 2, "undecided"),
        (0, 0, 1, 0, "undecided"),
        (0, 0, 0, 1, "undecided"),
    ],
)
def test_what_diverged_withholds(train, test, shallow: int, deep: int, word: str) -> None:
    found = judged(around(train), around(test), left_out=2, diverged=(shallow, deep))
    assert found.word == word
    if word == "undecided":
        assert "runs diverged" in found.why
        assert found.test_is in ("unknown", "up" if deep else "down")
        assert f"{shallow or deep} of plain-{20 if shallow else 56}" in found.why


# ---- rates


def studies(train, test, seed: int, spread: float, image: float = 0) -> Iterator[list[Step]]:
    """1,000 studies of five seeds of one arm whose networks have these true errors; between seeds
    lies a standard deviation of `spread`, in whole images of `image` points."""
    rng, depths = np.random.default_rng(seed), DEPTHS[: len(train)]
    steps = pairs.steps(depths, claims.claimed_steps())
    wanted = [(depths.index(shallow), depths.index(deep)) for shallow, deep in steps]
    for _ in range(1000):
        noise = rng.normal(0, spread, (2, len(depths), 5))
        noise = np.round(noise / image) * image if image else noise
        a, b = np.array([train, test])[..., None] + noise
        yield [
            Step("plain", depths[i], depths[j], END, *Rule().effects(a[j] - a[i], b[j] - b[i]))
            for i, j in wanted
        ]


EQUAL = ([1] * 5, [9] * 5)
PLAIN = ([1.44, 1.16, 3.26, 5.93], [9.69, 10.11, 11.47, 13.26])
DECIDED = {"degradation", "overfitting", "benefit"}


@pytest.mark.parametrize(
    ("errors", "noise", "steps", "words", "least", "most"),
    [
        (EQUAL, (7, 0.1), slice(None), DECIDED, 0, 0.025),
        (EQUAL, (7, 0.3), slice(None), DECIDED, 0, 0.025),
        (EQUAL, (7, 1), slice(None), DECIDED, 0, 0.025),
        (EQUAL, (7, 0.2, 0.2786), slice(None), DECIDED, 0, 0.025),
        (([1, 1], [9, 9]), (11, 0.3), slice(None), DECIDED, 0, 0.03),
        (([1, 1.5], [9, 9]), (8, 0.3), slice(None), {"degradation"}, 0, 0.04),
        (PLAIN, (9, 0.3), slice(1, 2), {"degradation"}, 0.98, 1),  # 20 to 56 layers
        (([0.10, 0.06], [6.97, 6.43]), (10, 0.16), slice(None), {"benefit"}, 0.9, 1),
        (([0.06, 0.09], [6.43, 7.93]), (10, 0.16), slice(None), {"overfitting"}, 0.88, 1),
    ],
)
def test_how_often_a_word_is_said(errors, noise, steps, words, least, most) -> None:
    """The share of the studies in which one of these steps has one of these words."""
    judged = [verdict_rules.judge_steps(study, Rule()) for study in studies(*errors, *noise)]
    assert least <= np.mean([any(s.word in words for s in own[steps]) for own in judged]) <= most
