"""The paper's claims as a checklist: what it says of depth, and what a study shows of that.

    reproduced            every step that the claim is about has the claimed answer
    contradicted          a step has another answer
    seen otherwise once   no step has, but one has a single seed, and shows something else
    undecided             a step has no answer, or no pair yet
    seen once             every step is as claimed, but one has a single seed, which decides nothing
    not tested            the study has no such step, or no pair of any

Answers are those of `verdict_rules`. A claim about depth alone needs the answer for the training
error; `benefit` and `overfitting` need both. The claims about CIFAR-10 are checked on every data
set with small images, at the same depths; whether they should hold there, the paper does not say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from analysis.stats import verdict_rules
from analysis.stats.verdict_rules import DEGRADATION, UNDECIDED, Step
from degradation.system.paths import PAPER

NO_DEGRADATION = "no degradation"
REPRODUCED, CONTRADICTED, OPEN = "reproduced", "contradicted", "undecided"
SEEN, SEEN_OTHERWISE, NOT_TESTED = "seen once", "seen otherwise once", "not tested"


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper about an arm and its depths."""

    text: str
    source: str
    imagenet: bool
    arm: str
    shallow: int
    deep: int
    expects: str
    """degradation, no degradation, benefit or overfitting."""
    moment: str
    every: bool
    """About every step that is judged from `shallow` to `deep`: many small ones must add up."""


@cache
def paper_claims() -> tuple[Claim, ...]:
    """The lines of `paper/claims.csv`."""
    table = pd.read_csv(PAPER / "claims.csv").astype({"imagenet": bool, "every": bool})
    return tuple(Claim(**{str(key): row[key] for key in row}) for row in table.to_dict("records"))


def claimed_steps() -> list[tuple[int, int]]:
    """Steps in depth that are judged even though other depths lie between them."""
    return sorted({(claim.shallow, claim.deep) for claim in paper_claims()})


@dataclass(frozen=True)
class Checked:
    """A claim, and what a study shows of it."""

    claim: Claim
    status: str
    steps: tuple[Step, ...]
    """Those that were tested."""


def check(judged: Sequence[Step], data: str) -> list[Checked]:
    """Every claim of the paper against the verdicts of one study on `data`."""
    return [_check(claim, judged, data) for claim in paper_claims()]


def _check(claim: Claim, judged: Sequence[Step], data: str) -> Checked:
    steps = _about(claim, judged) if claim.imagenet == (data == "imagenet") else []
    tested = tuple(step for step in steps if step.n)
    if not tested:
        return Checked(claim, NOT_TESTED, ())
    answers = {_answer(claim, step) for step in steps}
    ranked = (CONTRADICTED, SEEN_OTHERWISE, OPEN, SEEN)
    return Checked(claim, next((a for a in ranked if a in answers), REPRODUCED), tested)


def _about(claim: Claim, judged: Sequence[Step]) -> list[Step]:
    own = [j for j in judged if (j.arm, j.moment) == (claim.arm, claim.moment)]
    if claim.every:
        return [j for j in own if claim.shallow <= j.shallow and j.deep <= claim.deep]
    return [j for j in own if (j.shallow, j.deep) == (claim.shallow, claim.deep)]


def _answer(claim: Claim, step: Step) -> str:
    """The status of a claim that is about one step alone."""
    if (met := _met(claim.expects, step.train_is, step.word)) is not None:
        return REPRODUCED if met else CONTRADICTED
    if step.n != 1:
        return OPEN
    train_is = verdict_rules.UP if step.shows == DEGRADATION else verdict_rules.NOT_UP
    return SEEN if _met(claim.expects, train_is, step.shows) else SEEN_OTHERWISE


def _met(expects: str, train_is: str, word: str) -> bool | None:
    """Whether an answer is the expected one; None while there is none."""
    if expects in (DEGRADATION, NO_DEGRADATION):
        known = train_is != verdict_rules.UNKNOWN
        return (train_is == verdict_rules.UP) == (expects == DEGRADATION) if known else None
    return word == expects if word != UNDECIDED else None
