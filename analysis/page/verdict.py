"""The verdict of a study: what is said of each step in depth, as text and as plain values."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd

from analysis.frames import pairs
from analysis.frames.runs import Folder, Study
from analysis.stats import claims, verdict_rules
from analysis.stats.claims import Checked
from analysis.stats.inference import Effect
from analysis.stats.verdict_rules import Gap, Rule, StepVerdict
from degradation.runs import run_dir

WIDTH = 100
LISTED = 20  # lines of what was left out; --json has all


@dataclass(frozen=True)
class Verdict:
    """All that is said of one study."""

    study: str
    data: str
    runs: int
    rule: Rule
    steps: tuple[StepVerdict, ...]
    gaps: tuple[Gap, ...]
    claims: tuple[Checked, ...]
    left_out: pd.DataFrame
    """what, moment, reason (see `pairs.left_out`)."""


def of(study: Study, rule: Rule) -> Verdict:
    """The verdict on a study."""
    finals = pairs.finals(study.rows, study.idle)
    by_depth, by_arm = pairs.by_depth(finals, claims.STEPS), pairs.by_arm(finals)
    steps = verdict_rules.judge(by_depth, rule)
    return Verdict(
        study.name, study.data, finals["run"].nunique(), rule, tuple(steps),
        tuple(verdict_rules.gaps(by_arm, rule)), tuple(claims.check(steps, study.data)),
        pairs.left_out(finals, by_depth, by_arm),
    )  # fmt: skip


def in_no_study(runs: str | Path, folder: Folder) -> list[str]:
    """The runs below `runs` that neither a study nor a study of why holds: with another shortcut
    than the paper's two arms, or without a row, as all of their protocol."""
    known = [runs for study in folder.studies for runs in (study.rows, study.idle) if len(runs)]
    if len(folder.runs):
        known.append(folder.runs[folder.runs["variant"] & folder.runs["first_train"].notna()])
    held = {run for runs in known for run in runs["run"].unique()}
    return [run.name for run in run_dir.runs_in(runs) if run.name not in held]


def reproduced(verdicts: Sequence[Verdict]) -> bool:
    """Whether some claim was tested, and each that was is reproduced, in each study."""
    said = {checked.status for verdict in verdicts for checked in verdict.claims}
    return said - {claims.NOT_TESTED} == {claims.REPRODUCED}


def text(verdict: Verdict) -> str:
    """The verdict for people, at most WIDTH columns wide."""
    return "\n".join([
        f"{verdict.study}: {verdict.runs} runs",
        "", "Each step in depth", *_steps(verdict),
        "", "The shortcut's effect at each depth, residual − plain", *_gaps(verdict),
        "", f"The paper's claims, on {verdict.data}", *_claims(verdict),
        "", "Left out", *_left_out(verdict.left_out),
    ])  # fmt: skip


def _steps(verdict: Verdict) -> Iterator[str]:
    for step in verdict.steps:
        shows = f"; shows {step.shows}" if step.word == verdict_rules.UNDECIDED and step.shows else ""
        yield _wrapped(f"{_name(step)}, {step.moment}: {step.word} ({step.why}){shows}", 2)
        yield from _effects(step.train, step.test)
        names = f"{step.arm}-{step.shallow}", f"{step.arm}-{step.deep}"
        yield from _absent(step.left_out, step.diverged, names)


def _gaps(verdict: Verdict) -> Iterator[str]:
    for gap in verdict.gaps:
        yield f"  {gap.depth} layers, {gap.moment}"
        yield from _effects(gap.train, gap.test)
        names = f"plain-{gap.depth}", f"residual-{gap.depth}"
        yield from _absent(gap.left_out, gap.diverged, names)
    if not verdict.gaps:
        yield "  no depth has both arms"


def _effects(train: Effect, test: Effect) -> Iterator[str]:
    if train.n > 1:
        yield _wrapped(f"train {_effect(train)}  {_sign_flip(train)}", 4, 10)
        yield _wrapped(f"test  {_effect(test)}  {_sign_flip(test)}", 4, 10)
    elif train.n:
        yield f"    {_both(train, test)}"


def _absent(left_out: int, diverged: tuple[int, int], names: tuple[str, str]) -> Iterator[str]:
    if left_out:
        named = "".join(f"; diverged: {count} of {name}"
                        for count, name in zip(diverged, names, strict=True) if count)  # fmt: skip
        yield f"    seeds left out: {left_out}{named}"


def _claims(verdict: Verdict) -> Iterator[str]:
    for checked in verdict.claims:
        claim = checked.claim
        yield _wrapped(f"{checked.status:<20}{claim.text} ({claim.source})", 2, 22)
        for step in checked.steps:
            yield _wrapped(f"{step.shallow}→{step.deep}: {_both(step.train, step.test)}", 22, 22)


def _left_out(left_out: pd.DataFrame) -> Iterator[str]:
    entries = [own for _, own in left_out.groupby(["what", "reason"], sort=False)]
    for own in entries[:LISTED]:
        one = own.iloc[0]
        moment = f" ({one['moment']})" if len(own) == 1 else ""
        yield _wrapped(f"{one['what']}: {one['reason']}{moment}", 2)
    if len(entries) > LISTED:
        yield f"  and {len(entries) - LISTED} more; --json lists them"
    if left_out.empty:
        yield "  nothing"


def others(names: Sequence[str]) -> list[str]:
    head = "In no study: another shortcut than the paper's two arms, or no row yet"
    more = [f"  and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ["\n".join([head, *(f"  {name}" for name in names[:LISTED]), *more])] if names else []


def _name(step: StepVerdict) -> str:
    return f"{step.arm} {step.shallow}→{step.deep}"


def _both(train: Effect, test: Effect) -> str:
    if train.n == 1:
        return f"train {train.mean:+.2f}, test {test.mean:+.2f} (n=1, no interval)"
    return f"train {_effect(train)}, test {_effect(test)}"


def _effect(effect: Effect) -> str:
    return f"{effect.mean:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}] n={effect.n}"


def _sign_flip(effect: Effect) -> str:
    holm = f", Holm {effect.p_holm:.2g}" if effect.p_holm != effect.p else ""
    return f"sign-flip p {effect.p:.2g} (smallest reachable {effect.smallest_p:.2g}){holm}"


def _wrapped(line: str, indent: int, hanging: int = 4) -> str:
    return fill(line, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * hanging)


def plain(verdict: Verdict) -> dict[str, Any]:
    """The verdict as what JSON can say; null for what is not known."""
    content = {f.name: getattr(verdict, f.name) for f in dataclasses.fields(verdict)}
    content["rule"] = dataclasses.asdict(verdict.rule)
    content["steps"] = [dataclasses.asdict(step) for step in verdict.steps]
    content["gaps"] = [dataclasses.asdict(gap) for gap in verdict.gaps]
    content["claims"] = [
        {**dataclasses.asdict(c.claim), "status": c.status, "steps": [_name(s) for s in c.steps]}
        for c in verdict.claims
    ]
    content["left_out"] = verdict.left_out.to_dict("records")
    return {key: _finite(value) for key, value in content.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
