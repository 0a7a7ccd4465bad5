"""What people get wrong: each fault is named with file or key, value, what is allowed, remedy.

At most six lines, no traceback, a documented exit status, before any training; a refused command
leaves nothing in the runs folder. The tables lie in `soak/`, which counts the same rows.
"""

import copy
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from degradation.config import schema, study, validation
from degradation.system.paths import TOP
from tests.reliability.bad_input import FAULTS
from tests.reliability.child import Outcome
from tests.reliability.fault import Fault, complaints
from tests.reliability.place import Place, asked


def at(mapping: Any, key: str) -> Any:
    """What lies at a dotted key."""
    for part in key.split("."):
        mapping = mapping[part]
    return mapping


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_is_told(fault: Fault, tmp_path: Path) -> None:
    assert not complaints(fault, tmp_path)


def test_there_are_enough_of_them_and_each_once() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 75
    assert len({fault.id for fault in FAULTS}) >= 30


def test_a_message_that_falls_short_is_found(tmp_path: Path) -> None:
    """The judge of the others is no rubber stamp."""

    def silent(place: Place) -> Outcome:
        place.runs.mkdir()
        return Outcome(0, "Traceback\n" * 7 + "\x1b[2J", 0.0)

    found = "\n".join(complaints(Fault("C1", "x", silent, ("depth",), touches=False), tmp_path))
    for part in (
        "does not say 'depth'",
        "status 0, wanted 2",
        "8 lines",
        "a traceback",
        "nobody sees",
        "written into the runs folder",
    ):
        assert part in found


# Every key of the schema, one at a time


SETTINGS = schema.plain(asked("data=digits"))
LEAVES = [
    key for key in validation.paths(schema.Settings) if not isinstance(at(SETTINGS, key), dict)
]


PREFIXES = ("", "+", "++", "~")
PREFIXED = {*zip(LEAVES, PREFIXES * len(LEAVES), strict=False), *((LEAVES[0], p) for p in PREFIXES)}


@pytest.mark.parametrize(("key", "prefix"), sorted(PREFIXED))
def test_a_key_with_a_letter_too_many_is_answered_with_the_right_one(key: str, prefix: str) -> None:
    with pytest.raises(validation.ConfigError) as refusal:
        study.settings(study.Line.read([f"{prefix}{key}x=1"]))
    assert str(refusal.value).startswith(f"{key}x: no such setting (did you mean {key!r}?)")


@pytest.mark.parametrize("key", LEAVES)
def test_a_value_of_another_kind_is_refused_with_its_key(key: str) -> None:
    for value in (
        None,
        "no such word\x1b",
        -3,
        1.5,
        10**30,
        math.nan,
        math.inf,
        True,
        [],
        {},
        [None],
    ):
        changed = copy.deepcopy(SETTINGS)
        group, _, name = key.rpartition(".")
        (changed[group] if group else changed)[name] = value
        try:
            validation.read(schema.Settings, changed)
        except validation.ConfigError as refusal:
            said = str(refusal)
            assert said.startswith(key)
            assert "must be" in said or "must rise" in said
            assert said.isprintable() and len(said) < 300
        else:
            assert fits(at(SETTINGS, key), value), f"{key}={value!r} was taken"


def fits(usual: object, value: object) -> bool:
    """Whether a value may be one that the key takes: of the same type, or none."""
    return value is None or value == [] or type(value) is type(usual) or isinstance(usual, float)


def test_the_answer_comes_at_once(tmp_path: Path) -> None:
    """From outside: what a refusal adds to the start of the process stays below 2 s of work."""

    def seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in (0, 2, 3), done.stderr
        assert "Traceback" not in done.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    bare = seconds("-c", "import degradation.run")
    for words in (["depth=21"], ["dept=20"], ["data.download=false", "data.root=none"]):
        assert seconds("-m", "degradation.run", *words) - bare < 2
    assert list(tmp_path.iterdir()) == []
