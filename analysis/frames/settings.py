"""What `conf/` says: the default settings of a point's data and arm, and the cures there are."""

import dataclasses
import json
from functools import cache
from typing import Any

from degradation.config import schema
from degradation.system.paths import CONF


def overrides(point: schema.Point) -> list[str]:
    """The settings in which a point differs from the default ones of its data and arm."""
    data = point.data.name
    network = content("network", data)  # the data choose it, and it is part of the model
    defaults = {
        "model": content("model", point.arm) | network.get("model", network),
        "data": content("data", data),
        "recipe": content("recipe", data),
        "numerics": content("numerics", "reference"),
    }
    given = schema.identity(point)
    return [
        f"{group}.{key}={_written(value)}"
        for group, default in defaults.items()
        for key, value in given[group].items()
        if value != default.get(key)
    ]


def cures() -> dict[str, dict[str, Any]]:
    """By the name of its file, what each cure changes; not `none`, which changes nothing."""
    names = sorted(path.stem for path in (CONF / "cure").glob("*.yaml"))
    changes = {name: content("cure", name) for name in names}
    return {name: change for name, change in changes.items() if change}


def changed(point: schema.Point, change: dict[str, Any]) -> schema.Point | None:
    """The point with a cure's settings; None where they don't go together with its own."""
    try:
        groups = {
            name: dataclasses.replace(getattr(point, name), **values)
            for name, values in change.items()
        }
        return dataclasses.replace(point, **groups)
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
