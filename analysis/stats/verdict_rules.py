"""The rules of the verdict: what a step in depth did to an arm, from paired differences alone.

`Rule` has the rules in words, as `verdict.py` prints them; their reasons:

- The margin is half of the smallest rise of the training error that the paper calls degradation
  (ImageNet, plain 18 to 34 layers, Figure 4: 1.2 points). A change of the test error needs none:
  the paper counts 0.5 points (residual 56 to 110 layers). Where the test error rises only as the
  training error does, by less than the margin, nothing overfits.
- An arm with several steps answers several times, so the p behind each answer is adjusted for the
  arm's steps at that moment (Holm 1979): an interval may clear its bound, and the step stay open.
- Fewer than three seeds decide nothing. A spread between seeds below 0.1 points is taken as 0.1:
  the rounding to whole images of the 359 test images of digits makes as much.
- A diverged run has no error, and its absence makes its network look better. So a deeper run that
  diverged withholds `not up`, `down` and `equal`; a shallower one `up` and `equal`.
- One seed, as in the paper's own curves, is undecided; what it shows is printed beside.

Measured with five seeds (`tests/analysis/test_verdict_rules.py`): where depth has no effect, a step
has a wrong word in at most 1.3 % of the studies; a rise of just the margin is called degradation in
2.5 %; the paper's plain arm is called so in 100 %, its 0.5 points from 56 to 110 layers a benefit
in 95 %.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from textwrap import dedent

import pandas as pd
from numpy.typing import ArrayLike

from analysis.stats import inference
from analysis.stats.inference import Effect, Floats
from degradation.config.validation import ConfigError

DEGRADATION, OVERFITTING, BENEFIT = "degradation", "overfitting", "benefit"
NO_DIFFERENCE, UNDECIDED = "no difference", "undecided"
UP, NOT_UP, DOWN, EQUAL, UNKNOWN = "up", "not up", "down", "equal", "unknown"
ABOVE, BELOW = "above", "below"


@dataclass(frozen=True)
class Rule:
    """The rules, as text, and their numbers; the module's docstring has the reasons."""

    margin: float = 0.5
    """What is as good as equal, in percent points."""
    level: float = 0.05
    """1 − the intervals' coverage, and the bound of each adjusted p."""
    seeds: int = 3
    """The fewest that decide."""
    least_spread: float = 0.1
    """The smallest standard deviation between seeds that is believed, in percent points."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ConfigError(f"margin={self.margin}: must be a number of at least 0")

    def effect(self, differences: ArrayLike) -> Effect:
        return inference.effect(differences, self.level, self.least_spread)

    def effects(self, train: Floats, test: Floats) -> tuple[Effect, Effect, Effect]:
        """Of paired differences: on the training error, on the test error, on test − train."""
        return self.effect(train), self.effect(test), self.effect(test - train)

    def __str__(self) -> str:
        m, spread, p = f"{self.margin:g}", f"{self.least_spread:g}", f"{self.level:g}"
        interval = f"{100 * (1 - self.level):g} % t interval"
        return dedent(f"""\
            Differences: deeper − shallower, paired by seed, in percent points [{interval}].
              train error     up: interval above +{m}; not up: below +{m}
              test error      up: above 0, and test − train, too; down: below 0;
                              equal: neither, and within ±{m}
              degradation     train up
              overfitting     train not up, test up
              benefit         train not up, test down
              no difference   train not up, test equal
              undecided       all else; always with fewer than {self.seeds} seeds
            An answer also needs p < {p} after Holm over the arm's steps at that moment. A
            spread between seeds below {spread} counts as {spread}. A diverged run withholds the
            answers that its absence favours.""")


@dataclass(frozen=True)
class Step:
    """Two networks at one moment: a step in depth of one arm, or the two arms at one depth."""

    arm: str
    shallow: int
    deep: int
    moment: str
    train: Effect
    test: Effect
    beyond: Effect
    """On test − train."""
    train_is: str = UNKNOWN
    """up, not up or unknown. Like the next four, set by `judge_steps`."""
    test_is: str = UNKNOWN
    """up, down, equal or unknown."""
    word: str = UNDECIDED
    """The verdict."""
    why: str = ""
    """The rule that gave the word, or what is missing."""
    shows: str = ""
    """The word for the mean differences alone, decided or not; empty where there is none."""
    left_out: int = 0
    """Seeds without a pair that can be used."""
    diverged: tuple[int, int] = (0, 0)
    """Runs that diverged: shallower, deeper; or plain, residual."""

    @property
    def n(self) -> int:
        return self.train.n


def judge(pairs: pd.DataFrame, rule: Rule) -> list[Step]:
    """The verdict on each step, arm by arm, moment by moment; `pairs`: see `pairs.by_depth`."""
    return [step for family in _families(pairs, rule) for step in judge_steps(family, rule)]


def judge_steps(steps: Sequence[Step], rule: Rule) -> list[Step]:
    """Judge the steps of one arm at one moment: their p are adjusted for one another."""
    answers = zip(steps, _train(steps, rule), _test(steps, rule), strict=True)
    return [_judged(step, train_is, test_is, rule) for step, train_is, test_is in answers]


def gaps(pairs: pd.DataFrame, rule: Rule) -> list[Step]:
    """The shortcut's effect, residual − plain, by moment and depth; `pairs`: see `pairs.by_arm`."""
    return [step for family in _families(pairs, rule) for step in family]


def _families(pairs: pd.DataFrame, rule: Rule) -> Iterator[list[Step]]:
    """The steps of each arm and moment."""
    for _, family in pairs.groupby(["arm", "moment"], sort=False):
        yield [_step(own, rule) for _, own in family.groupby(["depth_first", "depth_second"])]


def _step(own: pd.DataFrame, rule: Rule) -> Step:
    used, one = own[own["reason"] == ""], own.iloc[0]
    return Step(
        one["arm"],
        int(one["depth_first"]),
        int(one["depth_second"]),
        one["moment"],
        *rule.effects(used["train"].to_numpy(float), used["test"].to_numpy(float)),
        left_out=len(own) - len(used),
        diverged=(int(own["diverged_first"].sum()), int(own["diverged_second"].sum())),
    )


def _train(steps: Sequence[Step], rule: Rule) -> list[str]:
    """up, not up or unknown, for each step."""
    words = {ABOVE: UP, BELOW: NOT_UP, UNKNOWN: UNKNOWN}
    return [words[side] for side in sides([s.train for s in steps], rule.margin, rule)]


def sides(effects: Sequence[Effect], bound: float, rule: Rule) -> list[str]:
    """On which side of `bound` each effect's interval lies: above, below or unknown.

    It is known where the p is below the level after Holm over all of the effects.
    """
    apart = _sure([inference.p_against(effect, bound) for effect in effects], effects, rule)
    return [
        UNKNOWN if not sure else ABOVE if effect.mean > bound else BELOW
        for effect, sure in zip(effects, apart, strict=True)
    ]


def _test(steps: Sequence[Step], rule: Rule) -> list[str]:
    """up, down, equal or unknown, for each step."""
    found, effects = [_test_side(step) for step in steps], [step.test for step in steps]
    p = [
        1.0 if side == EQUAL else inference.p_against(_decisive(step), 0)
        for side, step in zip(found, steps, strict=True)
    ]
    apart = _sure(p, effects, rule)
    close = _sure([inference.p_within(e, rule.margin) for e in effects], effects, rule)
    return [
        side if differs else EQUAL if equals else UNKNOWN
        for side, differs, equals in zip(found, apart, close, strict=True)
    ]


def _test_side(step: Step) -> str:
    """What the means show: a rise that the training error shares is none."""
    if step.test.mean < 0:
        return DOWN
    return UP if min(step.test.mean, step.beyond.mean) > 0 else EQUAL


def _decisive(step: Step) -> Effect:
    """Of the two that must both lie above 0 for a rise, the one that is less sure to."""
    if step.test.mean < 0:
        return step.test
    return max(step.test, step.beyond, key=lambda effect: inference.p_against(effect, 0))


def _sure(p: Sequence[float], effects: Sequence[Effect], rule: Rule) -> list[bool]:
    """Whether each p is below the level after Holm; effects of too few seeds do not count."""
    counted = [p if e.n >= rule.seeds else math.nan for p, e in zip(p, effects, strict=True)]
    return [bool(adjusted < rule.level) for adjusted in inference.holm(counted)]


def _judged(step: Step, train: str, test: str, rule: Rule) -> Step:
    """The step with its verdict, where the intervals give these answers."""
    train_is, test_is = _withheld(train, step.diverged), _withheld(test, step.diverged)
    word, shows = _word(train_is, test_is), ""
    if step.n:
        shows = _word(UP if step.train.mean > rule.margin else NOT_UP, _test_side(step))
    if word != UNDECIDED:
        why = _reason(word, rule)
    elif (train_is, test_is) != (train, test):
        why = _diverged(step)
    else:
        why = _missing("train" if train_is == UNKNOWN else "test", step.n, rule)
    return replace(step, train_is=train_is, test_is=test_is, word=word, why=why, shows=shows)


def _withheld(answer: str, diverged: tuple[int, int]) -> str:
    """The answer, or unknown where the absence of diverged runs favours it."""
    shallow, deep = diverged
    favoured = {*((UP, EQUAL) if shallow else ()), *((NOT_UP, DOWN, EQUAL) if deep else ())}
    return UNKNOWN if answer in favoured else answer


def _word(train_is: str, test_is: str) -> str:
    if train_is == UP:
        return DEGRADATION
    words = {UP: OVERFITTING, DOWN: BENEFIT, EQUAL: NO_DIFFERENCE}
    return words.get(test_is, UNDECIDED) if train_is == NOT_UP else UNDECIDED


def _reason(word: str, rule: Rule) -> str:
    margin = f"{rule.margin:g}"
    if word == DEGRADATION:
        return f"train interval above +{margin}"
    test = {
        OVERFITTING: "above 0 and above train's",
        BENEFIT: "below 0",
        NO_DIFFERENCE: f"within ±{margin}",
    }
    return f"train interval below +{margin}, test interval {test[word]}"


def _diverged(step: Step) -> str:
    counts = zip(step.diverged, (step.shallow, step.deep), strict=True)
    named = [f"{count} of {step.arm}-{depth}" for count, depth in counts if count]
    return f"runs diverged: {', '.join(named)}; what is left favours that depth"


def _missing(error: str, n: int, rule: Rule) -> str:
    """What an undecided step lacks."""
    if not n:
        return "no pair that can be used"
    if n < rule.seeds:
        return f"n={n} is too small, at least {rule.seeds} seeds decide"
    return f"n={n} is too small for the {error} error"
