"""The interventions that `conf/` has, and a run's settings with one of them."""

from typing import Any

from degradation.config import overrides, schema, validation
from degradation.system.paths import CONF


def interventions() -> dict[str, dict[str, Any]]:
    """By the name of its file, what each intervention changes; not `none`, which changes nothing."""
    names = sorted(path.stem for path in (CONF / "intervention").glob("*.yaml"))
    changes = {name: overrides.content("intervention", name) for name in names if name != "none"}
    return {
        name: {key: value for key, value in change.items() if key != "variant"}
        for name, change in changes.items()
    }


def changed(config: schema.RunConfig, change: dict[str, Any]) -> schema.RunConfig | None:
    """The run with an intervention's settings; None where they don't go together with its own."""
    mapping = schema.plain(config)
    for group, values in change.items():
        mapping[group] |= values
    try:
        return validation.read(schema.RunConfig, mapping)
    except validation.ConfigError:
        return None
