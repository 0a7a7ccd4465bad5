"""Read a mapping into a frozen dataclass, or say which key is wrong, what is allowed, what to do.

One reader serves the configuration that Hydra composed and the `config.json` of a run folder. A
field states its limits in its metadata, through `choice`, `number` and `steps` below. It needs
nothing but the standard library, so that whatever only looks at runs starts quickly.
"""

import dataclasses
import math
import sys
import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from degradation.system.console import did_you_mean, short_repr

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting that can't be used; the message is meant for people."""


def choice(*allowed: str, identity: bool = True, **default: Any) -> Any:
    """A field that takes one of `allowed`."""
    return dataclasses.field(metadata={"allowed": allowed, "identity": identity}, **default)


def number(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    identity: bool = True,
    **default: Any,
) -> Any:
    """A field that takes a finite number in [low, high], or (low, high] where `open_low`."""
    metadata = {"low": low, "high": high, "open_low": open_low, "identity": identity}
    return dataclasses.field(metadata=metadata, **default)


def text(says: str, fits: Callable[[str], object], *, identity: bool = True, **default: Any) -> Any:
    """A field that takes words of which `fits` is true; `says` describes those to people."""
    return dataclasses.field(metadata={"says": says, "fits": fits, "identity": identity}, **default)


def place(**default: Any) -> Any:
    """A field that takes a path, which is never part of a result."""
    return text("a path of visible characters, 1 to 1,000 of them",
                lambda path: all(map(_in_a_path, path)) and 0 < len(path) <= 1000,
                identity=False, **default)  # fmt: skip


def _in_a_path(character: str) -> bool:
    """Visible, or a byte that is no UTF-8, as Python reads it from a path."""
    return character.isprintable() or "\udc80" <= character <= "\udcff"


def free(*, identity: bool = True, **default: Any) -> Any:
    """A field of which only the type is checked."""
    return dataclasses.field(metadata={"identity": identity}, **default)


def read(cls: type[T], mapping: Any, path: str = "") -> T:
    """An instance of the dataclass `cls` from `mapping`, whose keys it must match exactly.

    `path` is the key of the mapping itself, for messages. Raises ConfigError for a key that is unknown
    or missing, and for a value of the wrong type or out of range; what the dataclass's own
    `__post_init__` raises passes through.
    """
    if not isinstance(mapping, Mapping):
        value = short_repr(mapping)
        raise ConfigError(f"{path or 'the configuration'}={value}: must be a group of keys")
    dot = f"{path}." if path else ""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            hint = did_you_mean(str(key), fields)
            raise ConfigError(f"{dot}{short_repr(key)}: no such setting{hint}; {path or 'there'} "
                          f"has {', '.join(sorted(fields))}")  # fmt: skip
    hints = _hints(cls)  # type: ignore[arg-type]
    values = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _value(hints[name], mapping[name], dot + name, field.metadata)
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{dot}{name}: missing; give it as {dot}{name}=…")
    return cls(**values)


@cache  # half of the time that reading thousands of points takes
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _value(kind: Any, value: Any, path: str, limits: Mapping[str, Any]) -> Any:
    """`value` as `kind`, within `limits`."""
    if dataclasses.is_dataclass(kind):
        return read(kind, value, path)  # type: ignore[arg-type]
    if isinstance(kind, types.UnionType):
        kinds = get_args(kind)
        if value is None and types.NoneType in kinds:
            return None
        kind = type(value) if type(value) in kinds else kinds[0]
    if get_origin(kind) is tuple:
        return _items(get_args(kind)[0], value, path, limits)
    if kind is float and type(value) is int and abs(value) <= sys.float_info.max:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path}={short_repr(value)}: must be {_KINDS[kind]}")
    return _within(value, path, limits)


def _items(kind: Any, value: Any, path: str, limits: Mapping[str, Any]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        given = short_repr(value)
        raise ConfigError(f"{path}={given}: must be a list, for example {path}=[1,2]")
    return tuple(_value(kind, item, f"{path}[{i}]", limits) for i, item in enumerate(value))


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _within(value: Any, path: str, limits: Mapping[str, Any]) -> Any:
    allowed = limits.get("allowed")
    if allowed and value not in allowed:
        raise ConfigError(f"{path}={short_repr(value)}: must be one of {', '.join(allowed)}"
                      f"{did_you_mean(value, allowed)}")  # fmt: skip
    if "fits" in limits and not limits["fits"](value):
        raise ConfigError(f"{path}={short_repr(value)}: must be {limits['says']}")
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}={value}: must be a finite number")
        if not low <= value <= high or (limits.get("open_low") and value == low):
            raise ConfigError(f"{path}={short_repr(value)}: must be {_range(limits)}")
    return value


def _range(limits: Mapping[str, Any]) -> str:
    low, high = limits["low"], limits["high"]
    sides = [f"{'above' if limits['open_low'] else 'at least'} {low}"] if low > -math.inf else []
    sides += [f"at most {high}"] if high < math.inf else []
    return " and ".join(sides)


def paths(cls: Any, prefix: str = "") -> list[str]:
    """Every key that a configuration of `cls` has, dotted, groups included."""
    found = []
    for name, kind in get_type_hints(cls).items():
        found.append(prefix + name)
        if dataclasses.is_dataclass(kind):
            found += paths(kind, f"{prefix}{name}.")
    return found
