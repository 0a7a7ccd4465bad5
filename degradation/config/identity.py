"""What makes a run the run it is: the part of its settings that decides the result, and its hash.

`field(metadata=NOT_IDENTITY)` marks a setting that changes no result. A setting without a default
is always hashed. One that is added later must have a default (the settings of older runs lack it)
and is hashed only where it differs from that default, so that older runs keep their names.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

# A number for what the settings mean. It is hashed into every name, so raising it gives all runs
# new names and no run that was trained before is found any more: raise it when a setting is renamed
# or changes its meaning, and renew the pinned hashes in tests/config/test_identity.py.
FORMAT = 2

NOT_IDENTITY = {"identity": False}


def identity(settings: Any) -> dict[str, Any]:
    """The part of a dataclass that decides the result, as nested dicts."""
    kept = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not field.metadata.get("identity", True) or value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            value = identity(value)
        kept[field.name] = list(value) if isinstance(value, tuple) else value
    return kept


def digest(content: Mapping[str, Any]) -> str:
    """Eight hex digits of the SHA-256 of nested dicts, in whatever order their keys are."""
    whole = {"format": FORMAT, **content}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def difference(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> list[str]:
    """`key: a → b` for each leaf in which two nested dicts differ."""
    lines = []
    for key in sorted({*a, *b}):
        one, other, name = a.get(key), b.get(key), f"{path}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += difference(one, other, f"{name}.")
        elif one != other:
            lines.append(f"{name}: {one} → {other}")
    return lines
