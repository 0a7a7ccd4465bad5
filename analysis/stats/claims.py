"""The paper's claims as a checklist: what it says of depth, and what a study shows of that.

    reproduced            every step that the claim is about has the claimed answer
    contradicted          a step has another answer
    seen otherwise once   no step has, but one has a single seed, and shows something else
    undecided             a step has no answer, or no pair yet
    seen once             every step is as claimed, but one has a single seed, which decides nothing
    not tested            the study has no such step, or no pair of any

Answers are those of `verdict_rules`. A claim about depth alone needs the answer for the training error;
`benefit` and `overfitting` need both. The claims about CIFAR-10 are asked of every data set with
small images, by the same depths; whether they should hold there, the paper doesn't say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.frames.pairs import BEFORE_DROP, END
from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import (
    BENEFIT,
    DEGRADATION,
    OVERFITTING,
    UNDECIDED,
    StepVerdict,
)

NO_DEGRADATION = "no degradation"
REPRODUCED, CONTRADICTED, OPEN = "reproduced", "contradicted", "undecided"
SEEN, SEEN_OTHERWISE, NOT_TESTED = "seen once", "seen otherwise once", "not tested"


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper about an arm and its depths."""

    text: str
    source: str
    arm: str
    shallow: int
    deep: int
    expects: str
    """degradation, no degradation, benefit or overfitting."""
    moment: str = END
    every: bool = False
    """About every step that is judged from `shallow` to `deep`: many small ones must add up."""
    imagenet: bool = False


CLAIMS = (
    Claim("the plain arm degrades from 20 to 56 layers", "Figures 1 and 6",
          "plain", 20, 56, DEGRADATION),
    Claim("before the first drop the plain arm degrades at every step from 20 to 56 layers",
          "measured on Figure 6", "plain", 20, 56, DEGRADATION, BEFORE_DROP, every=True),
    Claim("the residual arm degrades at no step from 20 to 110 layers", "Sec. 4.2, Figure 6",
          "residual", 20, 110, NO_DEGRADATION, every=True),
    Claim("residual-110 beats residual-56", "Table 6", "residual", 56, 110, BENEFIT),
    Claim("residual-1202 overfits, beside residual-110", "Sec. 4.2, Table 6",
          "residual", 110, 1202, OVERFITTING),
    Claim("ImageNet: plain-34 degrades beside plain-18", "Sec. 4.1, Figure 4, Table 2",
          "plain", 18, 34, DEGRADATION, imagenet=True),
    Claim("ImageNet: residual-34 beats residual-18", "Sec. 4.1, Figure 4, Table 2",
          "residual", 18, 34, BENEFIT, imagenet=True),
)  # fmt: skip
STEPS = tuple(sorted({(claim.shallow, claim.deep) for claim in CLAIMS}))
"""Steps in depth that are judged though other depths lie between them."""


@dataclass(frozen=True)
class Checked:
    """A claim, and what a study says to it."""

    claim: Claim
    status: str
    steps: tuple[StepVerdict, ...]
    """Those that were tested."""


def check(judged: Sequence[StepVerdict], data: str) -> list[Checked]:
    """Every claim of the paper against the judgements of one study on `data`."""
    return [_check(claim, judged, data) for claim in CLAIMS]


def _check(claim: Claim, judged: Sequence[StepVerdict], data: str) -> Checked:
    steps = _about(claim, judged) if claim.imagenet == (data == "imagenet") else []
    tested = tuple(step for step in steps if step.n)
    if not tested:
        return Checked(claim, NOT_TESTED, ())
    return Checked(claim, _status([_answer(claim, step) for step in steps]), tested)


def _about(claim: Claim, judged: Sequence[StepVerdict]) -> list[StepVerdict]:
    own = [j for j in judged if (j.arm, j.moment) == (claim.arm, claim.moment)]
    if claim.every:
        return [j for j in own if claim.shallow <= j.shallow and j.deep <= claim.deep]
    return [j for j in own if (j.shallow, j.deep) == (claim.shallow, claim.deep)]


def _answer(claim: Claim, step: StepVerdict) -> str:
    """The status of a claim that is about one step alone."""
    if (met := _met(claim.expects, step.train_is, step.word)) is not None:
        return REPRODUCED if met else CONTRADICTED
    if step.n != 1:
        return OPEN
    degrades = step.shows == DEGRADATION
    shown = _met(claim.expects, verdict_rules.UP if degrades else verdict_rules.NOT_UP, step.shows)
    return SEEN if shown else SEEN_OTHERWISE


def _met(expects: str, train_is: str, word: str) -> bool | None:
    """Whether an answer is the expected one; None while there is none."""
    if expects in (DEGRADATION, NO_DEGRADATION):
        known = train_is != verdict_rules.UNKNOWN
        return (train_is == verdict_rules.UP) == (expects == DEGRADATION) if known else None
    return word == expects if word != UNDECIDED else None


def _status(answers: Sequence[str]) -> str:
    for status in (CONTRADICTED, SEEN_OTHERWISE, OPEN, SEEN):
        if status in answers:
            return status
    return REPRODUCED
