"""Keys and choices on a command line: unknown ones are refused, with what is allowed."""

from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from degradation.config import schema, validation
from degradation.config.validation import ConfigError
from degradation.system import console
from degradation.system.paths import CONF


def parser() -> OverridesParser:
    """With the loader, which `glob(…)` asks for names."""
    return OverridesParser.create(GlobalHydra.instance().config_loader())


def check(overrides: list[str]) -> None:
    """Refuse an unknown key or choice with what is allowed, however it is prefixed."""
    loader = GlobalHydra.instance().config_loader()
    groups = [g for g in (*loader.list_groups(""), "hydra") if (CONF / g).is_dir() or g == "sweeps"]
    for text in overrides:
        override = _parsed(text)
        key = override.key_or_group
        if key.startswith("hydra"):
            _check_launcher(override)
            continue
        if override.package:
            raise ConfigError(f"{console.short_repr(text)}: `@` is not taken; give it as {key}=…")
        if override.is_add() and not override.is_force_add() and key != "sweeps":
            _check_key(key, groups)
            raise ConfigError(f"{console.short_repr(text)}: {key} is there already; give it as {key}=…")
        if key in groups:
            _check_choice(loader, key, override)
        else:
            _check_key(key, groups)


def _parsed(text: str) -> Override:
    try:
        (override,) = parser().parse_overrides([text])
    except HydraException as error:
        lines = (line.rpartition("': ")[2] for line in str(error).splitlines())
        why = next((line for line in lines if "hydra.cc" not in line and "Error" not in line), "")
        raise ConfigError(f"{console.short_repr(text)}: must be key=value ({console.escape_control_chars(why)[:100]}); quote "
                      "what holds brackets, commas or spaces: key='…'") from error  # fmt: skip
    return override


def _check_choice(loader: ConfigLoader, group: str, override: Override) -> None:
    known = loader.get_group_options(group)
    if override.is_delete():
        raise ConfigError(f"~{group}: must be one of {', '.join(known)}; give it as {group}=NAME")
    for choice in _values(override):
        if not isinstance(choice, str) or choice not in known:
            hint = console.did_you_mean(str(choice), known)
            several = f"; several: -m {group}=A,B" if isinstance(choice, list) else ""
            raise ConfigError(f"{group}={console.short_repr(choice)}: must be one of {', '.join(known)}{hint}"
                          f"{several}")  # fmt: skip


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    return [override.value()]


def _check_key(key: str, groups: list[str]) -> None:
    known = {*schema.keys(), *groups}
    if key not in known:
        raise ConfigError(validation.no_such_setting(key, known))


def _check_launcher(override: Override) -> None:
    """Say which package a launcher comes with, where it isn't installed."""
    if override.key_or_group != "hydra/launcher" or override.is_delete():
        return
    known = GlobalHydra.instance().config_loader().get_group_options("hydra/launcher")
    for choice in _values(override):
        if choice not in known:
            raise ConfigError(no_launcher(str(choice)))


EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
"""Launchers by Hydra's names, and the extra of this package that brings each."""


def no_launcher(name: str) -> str:
    if extra := EXTRAS.get(name):
        return (f"cluster={extra}: not installed; pip install 'degradation[{extra}]', or say "
                "cluster=serial: one run after the other")  # fmt: skip
    hint = console.did_you_mean(name, EXTRAS)
    return f"hydra/launcher={console.short_repr(name)}: must be one of basic, {', '.join(EXTRAS)}{hint}"
