"""What `conf/` says: the default settings of a point's data and arm, and the interventions there are."""

import dataclasses
import json
from functools import cache
from typing import Any

from degradation.config import schema
from degradation.system.paths import CONF


def overrides(config: schema.RunConfig) -> list[str]:
    """The settings in which a point differs from the default ones of its data and arm."""
    data = config.data.name
    network = content("network", data)  # the data choose it, and it is part of the model
    defaults = {
        "model": content("model", config.arm) | network.get("model", network),
        "data": content("data", data),
        "recipe": content("recipe", data),
        "numerics": content("numerics", "reference"),
    }
    given = schema.identity(config)
    return [
        f"{group}.{key}={_written(value)}"
        for group, default in defaults.items()
        for key, value in given[group].items()
        if value != default.get(key)
    ]


def interventions() -> dict[str, dict[str, Any]]:
    """By the name of its file, what each intervention changes; not `none`, which changes nothing."""
    names = sorted(path.stem for path in (CONF / "intervention").glob("*.yaml"))
    changes = {name: content("intervention", name) for name in names}
    return {name: change for name, change in changes.items() if change}


def changed(config: schema.RunConfig, change: dict[str, Any]) -> schema.RunConfig | None:
    """The point with an intervention's settings; None where they don't go together with its own."""
    try:
        groups = {
            name: dataclasses.replace(getattr(config, name), **values)
            for name, values in change.items()
        }
        return dataclasses.replace(config, **groups)
    except ValueError:
        return None


@cache
def content(group: str, name: str) -> dict[str, Any]:
    """What a file below conf/ says; an empty mapping where there is none."""
    from omegaconf import OmegaConf  # a tenth of a second that few commands need

    path = CONF / group / f"{name}.yaml"
    found: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    return dict(found or {})


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "")
