"""The command that trains one run: what differs from the files in `conf/`, as Hydra reads it."""

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from degradation.config import schema, study
from degradation.config.schema import RunConfig, Settings


def of(config: RunConfig, runs: str) -> str:
    """The command that trains `run` alone, with what differs from the files in conf/.

    The run's recipe is looked for under the name of its data.
    """
    arm, data = f"model={config.arm}", f"data={config.data.name}"
    [usual] = _usual(arm, data)
    theirs, ours = _leaves(schema.plain(usual.config)), _leaves(schema.plain(config))
    more = [f"{key}={written(value)}" for key, value in ours.items() if value != theirs[key]]
    if runs != usual.machine.runs:
        more.append(f"machine.runs={written(runs)}")
    return shlex.join(["python", "-m", "degradation.run", data, arm, *more])


@cache
def _usual(*overrides: str) -> list[Settings]:
    return study.settings(study.Line(list(overrides), multirun=False, config_dir=None, asks=False))


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        inner = _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        found |= {prefix + key: value} if inner is None else inner
    return found


def written(value: Any) -> str:
    """A value as Hydra reads it on a command line."""
    if isinstance(value, str) and not re.fullmatch(r"[\w./-]+", value):
        return "'" + value.translate({ord("\\"): "\\\\", ord("'"): "\\'"}) + "'"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
