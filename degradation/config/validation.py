"""Reads settings into the frozen dataclasses of schema.py, or says what is wrong with them.

The same reader serves what Hydra composed and the `config.json` of a run folder. pydantic checks
types and ranges; here its complaints become messages with the key, the value and what is allowed.
"""

import dataclasses
import json
import re
from collections.abc import Collection
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from degradation.system.console import did_you_mean, short_repr

T = TypeVar("T")
MOST_LINES = 5

# What people call a setting elsewhere, where its name here is spelled otherwise.
ELSEWHERE = {
    "recipe.lr": "learning_rate",
    "recipe.iterations": "epochs steps max_steps",
    "recipe.batch_size": "batch bs",
    "recipe.weight_decay": "wd",
    "recipe.milestones": "schedule drops",
    "recipe.gamma": "lr_decay",
    "recipe.warmup_min_depth": "warmup",
    "depth": "layers num_layers",
    "seed": "random_seed",
    "model.shortcut": "shortcuts",
    "model.width": "channels filters",
    "model.norm": "batch_norm bn",
    "model": "arch architecture",
    "data": "dataset",
    "numerics.precision": "amp dtype",
    "machine.runs": "output_dir out",
    "machine.device": "gpu",
    "machine.workers": "num_workers",
    "cluster": "launcher",
}


class ConfigError(ValueError):
    """A setting that can't be used; the message is meant for people."""


def read(cls: type[T], mapping: Any, path: str = "") -> T:
    """An instance of the dataclass `cls` from a mapping, whose keys it must match exactly.

    `path` is the key of the mapping itself, for messages. Raises ConfigError.
    """
    try:
        # As JSON, pydantic's strict mode takes a mapping for a dataclass and a list for a tuple.
        adapter: TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]
        return adapter.validate_json(json.dumps(mapping, default=str))
    except ValidationError as error:
        known = paths(cls)
        lines = [_message(one, path, known) for one in error.errors()]
        raise ConfigError("\n".join(lines[:MOST_LINES])) from None


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def _message(error: ErrorDetails, path: str, known: list[str]) -> str:
    """Key, value, what is allowed; and the remedy, where it is not just that."""
    if isinstance(raised := error.get("ctx", {}).get("error"), ConfigError):
        return str(raised)
    own = ".".join(str(part) for part in error["loc"])
    key = f"{path}.{own}" if path and own else path or own or "the settings"
    if error["type"] == "missing":
        return f"{key}: missing; give it as {key}=…"
    if error["type"] == "unexpected_keyword_argument":
        return no_such_setting(key, [f"{path}.{name}" if path else name for name in known])
    value = error["input"]
    says = re.sub("^(Input|String|List) should", "must", error["msg"].removeprefix("Value error, "))
    hint = ""
    if error["type"] == "literal_error":
        hint = did_you_mean(str(value), str(error["ctx"]["expected"]).split("'")[1::2])
    return f"{key}={short_repr(value)}: {says}{hint}"


def no_such_setting(key: str, known: Collection[str]) -> str:
    """The message about an unknown key, with the one that was probably meant."""
    if key in known:
        return (
            f"{key}: not part of what is chosen here, which `--cfg job` prints; +{key}=… adds it, "
            "where it has a meaning"
        )
    return (
        f"{short_repr(key)}: no such setting{_meant(key, known)}; `--cfg job` prints all settings"
    )


def _meant(key: str, known: Collection[str]) -> str:
    """The known key of the same meaning, of the same last part, or of the nearest spelling."""
    last = key.rpartition(".")[2]
    candidates = [each for each, words in ELSEWHERE.items() if last in words.split()]
    candidates += [each for each in known if each.rpartition(".")[2] == last]
    nearest = next((each for each in candidates if each in known), None)
    return f" (did you mean {nearest!r}?)" if nearest else did_you_mean(key, known)


def paths(cls: Any, prefix: str = "") -> list[str]:
    """Every key that a configuration of `cls` has, dotted, groups included."""
    keys = []
    for name, kind in get_type_hints(cls).items():
        keys.append(prefix + name)
        if dataclasses.is_dataclass(kind):
            keys += paths(kind, f"{prefix}{name}.")
    return keys
