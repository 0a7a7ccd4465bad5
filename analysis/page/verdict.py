"""The verdict on a study: what each step in depth did, as text and as plain values."""

import dataclasses
import json
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
from analysis.stats.inference import format_effect
from analysis.stats.verdict_rules import Rule, Step
from degradation.runs import run_dir

WIDTH = 100
LISTED = 20  # lines of what was left out; --json has all


@dataclass(frozen=True)
class Verdict:
    """Everything that is known of one study."""

    study: str
    data: str
    runs: int
    rule: Rule
    steps: tuple[Step, ...]
    gaps: tuple[Step, ...]
    """Residual − plain at each depth."""
    claims: tuple[Checked, ...]
    left_out: pd.DataFrame
    """what, moment, reason (see `pairs.left_out`)."""


def of(study: Study, rule: Rule) -> Verdict:
    """The verdict on a study."""
    finals = pairs.finals(study.rows, study.idle)
    by_depth = pairs.by_depth(finals, claims.claimed_steps())
    by_arm = pairs.by_arm(finals)
    steps = tuple(verdict_rules.judge(by_depth, rule))
    return Verdict(
        study.name,
        study.data,
        finals["run"].nunique(),
        rule,
        steps,
        tuple(verdict_rules.gaps(by_arm, rule)),
        tuple(claims.check(steps, study.data)),
        pairs.left_out(finals, by_depth, by_arm),
    )


def in_no_study(runs: str | Path, folder: Folder) -> list[str]:
    """The runs below `runs` that neither a study nor a side study holds: with another shortcut
    than the paper's two arms, or without a row, as all of their protocol."""
    known = {run for s in folder.studies for run in (*s.rows["run"].unique(), *s.idle["run"])}
    if len(folder.runs):
        side = folder.runs["side_study"] & folder.runs["first_train"].notna()
        known |= {*folder.runs[side]["run"]}
    return [run.name for run in run_dir.runs_in(runs) if run.name not in known]


def reproduced(verdicts: Sequence[Verdict]) -> bool:
    """Whether some claim was tested, and each that was is reproduced, in each study."""
    statuses = {checked.status for verdict in verdicts for checked in verdict.claims}
    return statuses - {claims.NOT_TESTED} == {claims.REPRODUCED}


def left_out(verdict: Verdict) -> list[tuple[str, str, list[str]]]:
    """What was not compared, why, and at which moments."""
    entries = verdict.left_out.groupby(["what", "reason"], sort=False)
    return [(str(what), str(reason), [*own["moment"]]) for (what, reason), own in entries]


# ---- for people


def text(verdict: Verdict) -> str:
    """The verdict, at most WIDTH columns wide."""
    parts = {
        f"{verdict.study}: {verdict.runs} runs\n\nEach step in depth": _steps(verdict),
        "The shortcut's effect at each depth, residual − plain": _gaps(verdict),
        f"The paper's claims, on {verdict.data}": _claims(verdict),
        "Left out": _left_out(verdict),
    }
    return "\n\n".join("\n".join([head, *lines]) for head, lines in parts.items())


def _steps(verdict: Verdict) -> Iterator[str]:
    for step in verdict.steps:
        undecided = step.word == verdict_rules.UNDECIDED
        shows = f"; shows {step.shows}" if undecided and step.shows else ""
        yield _wrapped(f"{_name(step)}, {step.moment}: {step.word} ({step.why}){shows}", 2)
        yield from _numbers(step, f"{step.arm}-{step.shallow}", f"{step.arm}-{step.deep}")
    if not verdict.steps:
        yield "  no arm has two depths"


def _gaps(verdict: Verdict) -> Iterator[str]:
    for gap in verdict.gaps:
        yield f"  {gap.deep} layers, {gap.moment}"
        yield from _numbers(gap, f"plain-{gap.deep}", f"residual-{gap.deep}")
    if not verdict.gaps:
        yield "  no depth has both arms"


def _numbers(step: Step, *networks: str) -> Iterator[str]:
    """The effects of a step from one network to another, and the seeds without them."""
    if step.n > 1:
        yield f"    train {format_effect(step.train)}"
        yield f"    test  {format_effect(step.test)}"
    elif step.n:
        yield f"    {_both(step)}"
    if step.left_out:
        counts = zip(step.diverged, networks, strict=True)
        named = "".join(f"; diverged: {count} of {name}" for count, name in counts if count)
        yield f"    seeds left out: {step.left_out}{named}"


def _claims(verdict: Verdict) -> Iterator[str]:
    for checked in verdict.claims:
        claim = checked.claim
        yield _wrapped(f"{checked.status:<20}{claim.text} ({claim.source})", 2, 22)
        for step in checked.steps:
            yield _wrapped(f"{step.shallow}→{step.deep}: {_both(step)}", 22, 22)


def _left_out(verdict: Verdict) -> Iterator[str]:
    entries = left_out(verdict)
    for what, reason, moments in entries[:LISTED]:
        moment = f" ({moments[0]})" if len(moments) == 1 else ""
        yield _wrapped(f"{what}: {reason}{moment}", 2)
    if len(entries) > LISTED:
        yield f"  and {len(entries) - LISTED} more; --json lists them"
    if not entries:
        yield "  nothing"


def others(names: Sequence[str]) -> list[str]:
    """The runs of `in_no_study`, under a heading; nothing where there is none."""
    head = "In no study: another shortcut than the paper's two arms, or no row yet"
    more = [f"  and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ["\n".join([head, *(f"  {name}" for name in names[:LISTED]), *more])] if names else []


def _name(step: Step) -> str:
    return f"{step.arm} {step.shallow}→{step.deep}"


def _both(step: Step) -> str:
    if step.n == 1:
        return f"train {step.train.mean:+.2f}, test {step.test.mean:+.2f} (n=1, no interval)"
    return f"train {format_effect(step.train)}, test {format_effect(step.test)}"


def _wrapped(line: str, indent: int, hanging: int = 4) -> str:
    return fill(line, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * hanging)


# ---- for programs


def plain(verdict: Verdict) -> dict[str, Any]:
    """The verdict as what JSON can hold; null for what is not known."""
    content = dataclasses.asdict(verdict)
    content["claims"] = [
        {**dataclasses.asdict(c.claim), "status": c.status, "steps": [_name(s) for s in c.steps]}
        for c in verdict.claims
    ]
    for step in content["steps"]:
        del step["beyond"]
    keys = ("moment", "train", "test", "left_out", "diverged")
    content["gaps"] = [
        {"depth": g["deep"]} | {key: g[key] for key in keys} for g in content["gaps"]
    ]
    content["left_out"] = verdict.left_out.to_dict("records")
    return dict(json.loads(json.dumps(content), parse_constant=lambda nan: None))
