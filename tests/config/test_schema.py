"""The reader of configurations: what it takes, and what it tells people about the rest."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from degradation.config import validation
from degradation.config.validation import (
    ConfigError,
    choice,
    free,
    number,
)
from degradation.system import console


@dataclass(frozen=True)
class Inner:
    kind: str = choice("none", "identity", "projection")
    rate: float = number(0, 1, open_low=True)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    count: int = number(1, 10)
    ratio: float = number()
    steps: tuple[int, ...] = number(1, 100)
    least: int | None = number(8, 20)
    on: bool = free()
    word: str = free()
    later: int = number(0, 9, default=3)


GOOD: dict[str, Any] = {
    "inner": {"kind": "none", "rate": 0.5},
    "count": 2,
    "ratio": 0.25,
    "steps": [3, 4],
    "least": None,
    "on": True,
    "word": "any",
}


def read(key: str = "count", value: Any = 2) -> Outer:
    """GOOD with another value at a dotted key."""
    mapping = {**GOOD, "inner": dict(GOOD["inner"])}
    group, _, field = key.rpartition(".")
    (mapping[group] if group else mapping)[field] = value
    return validation.read(Outer, mapping)


def message(key: str, value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(key, value)
    return str(caught.value)


def test_reads_every_kind_of_field() -> None:
    assert read() == Outer(Inner("none", 0.5), 2, 0.25, (3, 4), None, True, "any", 3)


def test_invalid_is_a_value_error() -> None:
    assert issubclass(ConfigError, ValueError)


def test_unknown_key_is_answered_with_the_nearest_and_all_that_are_allowed() -> None:
    text = message("cuont", 2)
    assert text.startswith("cuont: no such setting (did you mean 'count'?)")
    assert text.endswith("has count, inner, later, least, on, ratio, steps, word")


def test_unknown_key_in_a_group_carries_its_path() -> None:
    text = message("inner.rat", 1)
    assert text.startswith("inner.rat: no such setting (did you mean 'rate'?)")
    assert text.endswith("inner has kind, rate")


def test_no_guess_where_nothing_is_near() -> None:
    assert "did you mean" not in message("zzzz", 1)
    assert console.did_you_mean("zzzz", ["count"]) == ""


def test_a_key_that_is_no_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="7: no such setting"):
        validation.read(Inner, {**GOOD["inner"], 7: 1})


@pytest.mark.parametrize("key", ["count", "ratio", "steps", "least", "on", "word", "inner"])
def test_missing_key_says_how_to_give_it(key: str) -> None:
    mapping = {k: v for k, v in GOOD.items() if k != key}
    with pytest.raises(ConfigError, match=rf"^{key}: missing; give it as {key}=…$"):
        validation.read(Outer, mapping)


def test_missing_key_in_a_group_carries_its_path() -> None:
    with pytest.raises(ConfigError, match=r"^inner\.kind: missing; give it as inner\.kind=…$"):
        validation.read(Outer, {**GOOD, "inner": {"rate": 0.5}})


def test_a_field_with_a_default_may_be_missing_or_given() -> None:
    assert read().later == 3
    assert read("later", 4).later == 4


@pytest.mark.parametrize("mapping", [None, 5, "text", [1, 2]])
def test_what_is_no_mapping_is_refused(mapping: Any) -> None:
    with pytest.raises(ConfigError, match=r"^the configuration=.*must be a group of keys"):
        validation.read(Outer, mapping)
    assert message("inner", mapping).startswith("inner=")


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("count", "2", "a whole number"),
        ("count", 2.0, "a whole number"),
        ("count", None, "a whole number"),
        ("count", [2], "a whole number"),
        ("count", True, "a whole number"),
        ("ratio", "0.1", "a number"),
        ("ratio", False, "a number"),
        ("ratio", None, "a number"),
        ("on", 1, "true or false"),
        ("on", "true", "true or false"),
        ("word", 5, "a word"),
        ("word", None, "a word"),
        ("inner.kind", 5, "a word"),
        ("least", 8.5, "a whole number"),
        ("least", True, "a whole number"),
        ("steps", 5, r"a list, for example steps=[1,2]"),
        ("steps", "12", r"a list, for example steps=[1,2]"),
        ("steps", None, r"a list, for example steps=[1,2]"),
    ],
)
def test_wrong_type(key: str, value: Any, wanted: str) -> None:
    assert message(key, value) == f"{key}={value!r}: must be {wanted}"


@pytest.mark.parametrize("value", ["x", 1.5, True, None])
def test_wrong_type_in_a_list_names_the_place(value: Any) -> None:
    assert message("steps", [3, value]) == f"steps[1]={value!r}: must be a whole number"


def test_a_whole_number_is_taken_where_a_number_is_meant() -> None:
    ratio = read("ratio", 2).ratio
    assert type(ratio) is float and ratio == 2.0


@pytest.mark.parametrize("given", [[], [5], (5, 6), [6, 5]])
def test_list_and_tuple_become_a_tuple(given: Any) -> None:
    assert read("steps", given).steps == tuple(given)


def test_optional_takes_null_and_a_value_within_limits() -> None:
    assert read("least", None).least is None
    assert read("least", 8).least == 8
    assert message("least", 7) == "least=7: must be at least 8 and at most 20"


@pytest.mark.parametrize(
    ("key", "value"), [("count", 1), ("count", 10), ("inner.rate", 1.0), ("inner.rate", 5e-324)]
)
def test_limits_are_included(key: str, value: float) -> None:
    read(key, value)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("count", 0, "at least 1 and at most 10"),
        ("count", 11, "at least 1 and at most 10"),
        ("inner.rate", 0.0, "above 0 and at most 1"),
        ("inner.rate", -1.0, "above 0 and at most 1"),
        ("inner.rate", 1.5, "above 0 and at most 1"),
    ],
)
def test_out_of_range(key: str, value: float, wanted: str) -> None:
    assert message(key, value) == f"{key}={value}: must be {wanted}"


def test_out_of_range_in_a_list_names_the_place() -> None:
    assert message("steps", [1, 101]) == "steps[1]=101: must be at least 1 and at most 100"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["ratio", "inner.rate"])
def test_a_number_must_be_finite(key: str, value: float) -> None:
    assert message(key, value) == f"{key}={value}: must be a finite number"


@pytest.mark.parametrize("key", ["count", "ratio", "inner.rate", "least"])
def test_a_whole_number_beyond_every_float_is_refused_like_any_other(key: str) -> None:
    assert f"{key}=1000" in message(key, 10**400)


def test_choice_names_what_is_allowed_and_the_nearest() -> None:
    text = message("inner.kind", "identty")
    assert text == ("inner.kind=identty: must be one of none, identity, projection"
                    " (did you mean 'identity'?)")  # fmt: skip


def test_what_a_dataclass_raises_itself_passes_through() -> None:
    @dataclass(frozen=True)
    class Picky:
        count: int

        def __post_init__(self) -> None:
            raise ConfigError("not today")

    with pytest.raises(ConfigError, match=r"^not today$"):
        validation.read(Picky, {"count": 1})


def test_paths_are_dotted_and_have_the_groups() -> None:
    assert validation.paths(Outer) == [
        "inner", "inner.kind", "inner.rate", "count", "ratio", "steps", "least", "on", "word",
        "later",
    ]  # fmt: skip
