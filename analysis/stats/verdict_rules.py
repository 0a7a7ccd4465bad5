"""The rules of the verdict: what a step in depth did to an arm, from paired differences alone.

A difference is the deeper network's error minus the shallower one's, seed by seed, in percent
points. Two questions are asked of a step, each answered by a 95 % t interval:

    train error    up        the interval lies above the margin, 0.5 points
                   not up    it lies below the margin: equal, or lower
    test error     up        it lies above 0, and so does that of test − train
                   down      it lies below 0
                   equal     neither, and it lies within ± the margin

    degradation      train up
    overfitting      train not up, test up
    benefit          train not up, test down
    no difference    train not up, test equal
    undecided        an answer is missing; it says how many more seeds it takes, or what else

- The margin is half of the smallest rise of the training error that the paper calls degradation
  (ImageNet, plain 18 to 34 layers, Figure 4: 1.2 points). A change of the test error needs none:
  the paper counts 0.5 points (residual 56 to 110 layers). But where the test error rises only as
  the training error does, by less than the margin, nothing overfits.
- An arm with several steps answers several times, so the p behind each answer is adjusted for the
  arm's steps at that moment (Holm 1979): an interval may clear its bound, and the step stay open.
- Fewer than three seeds decide nothing. A spread between seeds below 0.1 points is taken as 0.1:
  the rounding to whole images of digits' 359 for the test makes as much.
- A diverged run has no error, and its absence makes its network look better. So a deeper run that
  diverged withholds `not up`, `down` and `equal`; a shallower one `up` and `equal`.
- The sign-flip p is shown with the least that so few seeds can reach, and decides nothing.
- One seed, as in the paper's own curves, is undecided; what it shows is said beside.

Measured with five seeds (`tests/test_judgement.py`): where depth has no effect, a step has a wrong
word in at most 1.3 % of the studies; a rise of just the margin is called degradation in 2.5 %; the
paper's plain arm is called so in 100 %, its 0.5 points from 56 to 110 layers a benefit in 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent

import pandas as pd

from analysis.stats import inference
from analysis.stats.inference import Effect, Floats

DEGRADATION, OVERFITTING, BENEFIT = "degradation", "overfitting", "benefit"
NO_DIFFERENCE, UNDECIDED = "no difference", "undecided"
UP, NOT_UP, DOWN, EQUAL, UNKNOWN = "up", "not up", "down", "equal", "unknown"
ABOVE, BELOW = "above", "below"


@dataclass(frozen=True)
class Rule:
    """The numbers of the rules; the module's head has their reasons."""

    margin: float = 0.5
    """What is as good as equal, in percent points."""
    level: float = 0.05
    """1 − the intervals' coverage, and the bound of each adjusted p."""
    seeds: int = 3
    """The fewest that decide."""
    least_spread: float = 0.1
    """The smallest standard deviation between seeds that is believed, in percent points."""
    power: float = 0.8
    """With which the seeds that are still needed would decide."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin={self.margin}: must be a number of at least 0")

    def __str__(self) -> str:
        m, spread, p = f"{self.margin:g}", f"{self.least_spread:g}", f"{self.level:g}"
        return dedent(f"""\
            Differences: deeper − shallower, paired by seed, in percent points [{self._interval}].
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
            answers that its absence favours. The sign-flip p decides nothing.""")

    @property
    def _interval(self) -> str:
        return f"{100 * (1 - self.level):g} % t interval"


@dataclass(frozen=True)
class Step:
    """The paired differences of one step in depth of one arm at one moment."""

    arm: str
    shallow: int
    deep: int
    moment: str
    train: Floats
    test: Floats
    left_out: int = 0
    """Seeds without a pair that can be used."""
    diverged: tuple[int, int] = (0, 0)
    """Runs that diverged: shallower, deeper."""


@dataclass(frozen=True)
class StepVerdict:
    """What is said of a step, and why."""

    arm: str
    shallow: int
    deep: int
    moment: str
    train: Effect
    test: Effect
    train_is: str
    """up, not up or unknown."""
    test_is: str
    """up, down, equal or unknown."""
    word: str
    """The verdict."""
    why: str
    """The rule that gave the word, or what is missing."""
    shows: str
    """The word for the mean differences alone, decided or not; empty where there is none."""
    more_seeds: int | None
    """About how many more would decide; None where it is decided, or they would not do."""
    family: int
    """Steps whose p were adjusted together."""
    left_out: int
    diverged: tuple[int, int]

    @property
    def n(self) -> int:
        return self.train.n


@dataclass(frozen=True)
class Gap:
    """The shortcut's effect at one depth and moment: residual − plain."""

    depth: int
    moment: str
    train: Effect
    test: Effect
    left_out: int
    diverged: tuple[int, int]
    """Runs that diverged: plain, residual."""


def judge(pairs: pd.DataFrame, rule: Rule) -> list[StepVerdict]:
    """A verdict_rules a step, arm by arm, moment by moment; `pairs` are those of `pairs.by_depth`."""
    families = pairs.groupby(["arm", "moment"], sort=False)
    return [judged for _, family in families for judged in together(_steps(family), rule)]


def together(steps: Sequence[Step], rule: Rule) -> list[StepVerdict]:
    """Judge the steps of one arm at one moment: their p are adjusted for one another."""
    trains = _effects([step.train for step in steps], rule)
    tests = _effects([step.test for step in steps], rule)
    beyond = _effects([step.test - step.train for step in steps], rule)
    answers = zip(_train(trains, rule), _test(tests, beyond, rule), strict=True)
    family = max(1, sum(effect.n >= rule.seeds for effect in trains))
    return [_judgement(*of_step, family, rule)
            for of_step in zip(steps, trains, tests, beyond, answers, strict=True)]  # fmt: skip


def gaps(pairs: pd.DataFrame, rule: Rule) -> list[Gap]:
    """The gap at each moment and depth, p adjusted over depths; `pairs`: see `pairs.by_arm`."""
    found = []
    for _, family in pairs.groupby(["arm", "moment"], sort=False):
        steps = _steps(family)
        trains = _effects([step.train for step in steps], rule)
        tests = _effects([step.test for step in steps], rule)
        found += [Gap(step.deep, step.moment, train, test, step.left_out, step.diverged)
                  for step, train, test in zip(steps, trains, tests, strict=True)]  # fmt: skip
    return found


def _steps(family: pd.DataFrame) -> list[Step]:
    return [_step(own) for _, own in family.groupby(["depth_first", "depth_second"])]


def _step(own: pd.DataFrame) -> Step:
    used, one = own[own["reason"] == ""], own.iloc[0]
    diverged = int(own["diverged_first"].sum()), int(own["diverged_second"].sum())
    return Step(
        one["arm"], int(one["depth_first"]), int(one["depth_second"]), one["moment"],
        used["train"].to_numpy(float), used["test"].to_numpy(float),
        len(own) - len(used), diverged,
    )  # fmt: skip


def _effects(differences: Sequence[Floats], rule: Rule) -> list[Effect]:
    return inference.over_depths(
        [inference.effect(d, rule.level, rule.least_spread) for d in differences]
    )


def _train(effects: Sequence[Effect], rule: Rule) -> list[str]:
    """up, not up or unknown, for each step."""
    words = {ABOVE: UP, BELOW: NOT_UP, UNKNOWN: UNKNOWN}
    return [words[side] for side in sides(effects, rule.margin, rule)]


def sides(effects: Sequence[Effect], bound: float, rule: Rule) -> list[str]:
    """above, below or unknown, for each effect: on which side of `bound` its interval lies, where
    its p is below the level after Holm over all of them."""
    apart = _sure([inference.p_against(e, bound) for e in effects], effects, rule)
    return [_side(e.mean, bound, ABOVE, BELOW) if sure else UNKNOWN
            for e, sure in zip(effects, apart, strict=True)]  # fmt: skip


def _test(effects: Sequence[Effect], beyond: Sequence[Effect], rule: Rule) -> list[str]:
    """up, down, equal or unknown, for each step; `beyond` is test − train."""
    sides = [_test_side(*both) for both in zip(effects, beyond, strict=True)]
    p = [1.0 if side == EQUAL else inference.p_against(_decisive(*both), 0)
         for side, *both in zip(sides, effects, beyond, strict=True)]  # fmt: skip
    apart = _sure(p, effects, rule)
    close = _sure([inference.p_within(e, rule.margin) for e in effects], effects, rule)
    return [side if differs else EQUAL if equals else UNKNOWN
            for side, differs, equals in zip(sides, apart, close, strict=True)]  # fmt: skip


def _test_side(test: Effect, beyond: Effect) -> str:
    """What the means show: a rise that the training error shares is none."""
    if test.mean < 0:
        return DOWN
    return UP if min(test.mean, beyond.mean) > 0 else EQUAL


def _decisive(test: Effect, beyond: Effect) -> Effect:
    """Of the two that must both lie above 0 for a rise, the one that is less sure to."""
    if test.mean < 0:
        return test
    return max(test, beyond, key=lambda effect: inference.p_against(effect, 0))


def _sure(p: Sequence[float], effects: Sequence[Effect], rule: Rule) -> list[bool]:
    """Whether each p is below the level after Holm; too few seeds say nothing, and don't count."""
    counted = [p if e.n >= rule.seeds else math.nan for p, e in zip(p, effects, strict=True)]
    return [bool(adjusted < rule.level) for adjusted in inference.holm(counted)]


def _side(mean: float, bound: float, above: str, below: str) -> str:
    return above if mean > bound else below


def _judgement(
    step: Step, train: Effect, test: Effect, beyond: Effect, answers: tuple[str, str],
    family: int, rule: Rule,
) -> StepVerdict:  # fmt: skip
    train_is, test_is = kept = tuple(_withheld(answer, step.diverged) for answer in answers)
    word = _word(train_is, test_is)
    if word != UNDECIDED:
        why, more = _reason(word, rule), None
    elif kept != answers:
        why, more = _diverged(step), None
    elif train_is == UNKNOWN:
        why, more = _missing("train", train, abs(train.mean - rule.margin), family, rule)
    else:
        why, more = _missing("test", *_nearest(test, beyond, rule), family, rule)
    return StepVerdict(
        step.arm, step.shallow, step.deep, step.moment, train, test, train_is, test_is,
        word, why, _shown(train, test, beyond, rule), more, family, step.left_out, step.diverged,
    )  # fmt: skip


def _nearest(test: Effect, beyond: Effect, rule: Rule) -> tuple[Effect, float]:
    """What takes the fewest seeds to answer for the test error, and its distance to the bound."""
    within = rule.margin - abs(test.mean)
    side, decisive = _test_side(test, beyond), _decisive(test, beyond)
    if side != EQUAL and abs(decisive.mean) > within:
        return decisive, abs(decisive.mean)
    return test, within


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


def _shown(train: Effect, test: Effect, beyond: Effect, rule: Rule) -> str:
    if not train.n:
        return ""
    return _word(_side(train.mean, rule.margin, UP, NOT_UP), _test_side(test, beyond))


def _reason(word: str, rule: Rule) -> str:
    margin = f"{rule.margin:g}"
    test = {
        OVERFITTING: "above 0 and above train's",
        BENEFIT: "below 0",
        NO_DIFFERENCE: f"within ±{margin}",
    }
    if word == DEGRADATION:
        return f"train interval above +{margin}"
    return f"train interval below +{margin}, test interval {test[word]}"


def _diverged(step: Step) -> str:
    counts = zip(step.diverged, (step.shallow, step.deep), strict=True)
    named = [f"{count} of {step.arm}-{depth}" for count, depth in counts if count]
    return f"runs diverged: {', '.join(named)}; what is left favours that depth"


def _missing(
    error: str, effect: Effect, distance: float, family: int, rule: Rule
) -> tuple[str, int | None]:
    """What an undecided step lacks, and how many more seeds it needs, where that is known."""
    n = effect.n
    if not n:
        return "no pair that can be used", rule.seeds
    if n < rule.seeds:
        return f"n={n} is too small, needs at least {_seeds(rule.seeds - n)}", rule.seeds - n
    more = inference.seeds_needed(effect, distance, family, rule.level, rule.power).interval
    if more is None:
        most = max(n, inference.MOST_SEEDS)
        return f"the {error} error is close to its bound, needs over {most} seeds", None
    more = max(1, more)
    return f"n={n} is too small for the {error} error, needs about {_seeds(more)}", more


def _seeds(count: int) -> str:
    return f"{count} more seed{'s' * (count != 1)}"
