"""The overrides that reproduce a run: where its settings differ from the files in `conf/`.

They are read from the YAML files alone, so that nothing here needs Hydra. The files that count are
those of the run's data and arm, and `numerics=reference`.
"""

import dataclasses
import json
import re
import shlex
from functools import cache
from typing import Any

import yaml

from degradation.config.schema import Data, Model, Numerics, Recipe, RunConfig
from degradation.config.validation import read
from degradation.system.paths import CONF


def command(config: RunConfig, runs: str) -> str:
    """The command that trains `config` alone, in the folder `runs`."""
    words = [f"data={config.data.name}", f"model={config.arm}", f"depth={config.depth}"]
    words += [f"seed={config.seed}", *changed_settings(config, of_identity=False)]
    others = {
        "study": (config.study, config.data.name),
        "variant": (config.variant, ""),
        "machine.runs": (runs, "runs"),
    }
    for key, (value, usual) in others.items():
        if value not in ("", usual):
            words.append(f"{key}={written(value)}")
    return shlex.join(["python", "-m", "degradation.run", *words])


def changed_settings(config: RunConfig, of_identity: bool = True) -> list[str]:
    """`group.key=value` for each setting that is not the usual one of the run's data and arm.

    `of_identity`: those alone that change the result.
    """
    changes = []
    for group, usual in _usual(config.data.name, config.arm).items():
        for field in dataclasses.fields(usual):
            counts = field.metadata.get("identity", True) or not of_identity
            value = getattr(getattr(config, group), field.name)
            if counts and value != getattr(usual, field.name):
                changes.append(f"{group}.{field.name}={written(value)}")
    return changes


@cache
def _usual(data: str, arm: str) -> dict[str, Any]:
    """The settings in conf/ for `data=… model=…`, by group."""
    network = content("network", data)  # chosen by the data, but its settings are the model's
    model = content("model", arm) | network.get("model", network)
    return {
        "model": read(Model, model, "model"),
        "data": read(Data, content("data", data), "data"),
        "recipe": read(Recipe, content("recipe", data), "recipe"),
        "numerics": read(Numerics, content("numerics", "reference"), "numerics"),
    }


def content(group: str, name: str) -> dict[str, Any]:
    """What a file below conf/ holds."""
    return dict(yaml.safe_load((CONF / group / f"{name}.yaml").read_text()) or {})


def written(value: Any) -> str:
    """A value as Hydra reads it on a command line."""
    if isinstance(value, str) and not re.fullmatch(r"[\w./-]+", value):
        return "'" + value.translate({ord("\\"): "\\\\", ord("'"): "\\'"}) + "'"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
