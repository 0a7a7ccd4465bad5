"""What a command line asks for: its points, each composed and checked before any of them trains.

Hydra composes a sweep's points one by one as it launches them; here all are composed first, by the
same rules, so that a bad point is known before the first one costs an hour, and so that what a
study lacks can be told (`status`, `plan`).
"""

import argparse
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from degradation import schema
from degradation.places import CONF, TOP
from degradation.spec import Settings


class SweepsFolder(SearchPathPlugin):
    """Lets `+sweeps=NAME` find the folder `sweeps/` beside `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="degradation", path=f"file://{TOP}")


Plugins.instance().register(SweepsFolder)


@dataclass(frozen=True)
class Line:
    """A command line as Hydra reads it."""

    overrides: list[str]
    multirun: bool
    config_dir: str | None
    asks: bool
    """It only wants to be told something: --help, --cfg, --info, completion."""

    @property
    def serial(self) -> bool:
        """Whether points are left to this process, not to a launcher."""
        named = ("cluster=", "hydra/launcher=")
        return not any(o.lstrip("+").startswith(named) for o in self.overrides)

    @classmethod
    def read(cls, arguments: Sequence[str]) -> "Line":
        args: argparse.Namespace = get_args_parser().parse_args(list(arguments))
        asks = args.help or args.hydra_help or args.cfg or args.info
        completes = args.shell_completion
        return cls(args.overrides, args.multirun, args.config_dir, bool(asks or completes))


@dataclass(frozen=True)
class Asked:
    """What a command line asks for."""

    settings: list[Settings]
    """Of each point, in order, each one once."""
    overrides: dict[str, list[str]]
    """Of each point by name: the words that make it this one."""
    launcher: str
    """Hydra's name for what runs the points: basic, joblib, submitit_slurm, …"""


def settings(line: Line) -> list[Settings]:
    """The settings of each point that `line` asks for, in order, each one once.

    Raises schema.Invalid for what can't be: an unknown name or key, a value out of range.
    """
    return asked(line).settings


def asked(line: Line) -> Asked:
    """All that `line` asks for. Raises schema.Invalid as `settings` does."""
    try:
        with prepared(line):
            _check_names(line.overrides)
            compose_one = Composer()
            overrides, name = expand(line.overrides, line.multirun)
            found = [schema.read(Settings, compose_one(each)) for each in overrides]
    except (HydraException, OmegaConfBaseException) as error:
        raise schema.Invalid(_without_advice(str(error))) from error
    words = {s.point.name: each for s, each in zip(found, overrides, strict=True)}
    return Asked(list({s.point.name: s for s in found}.values()), words, name)


def launcher(config: DictConfig) -> str:
    """The launcher that a configuration has chosen, by Hydra's name."""
    return str(config.hydra.runtime.choices["hydra/launcher"])


@contextmanager
def prepared(line: Line) -> Iterator[Hydra]:
    """Hydra set up as its own command line does it, `--config-dir` included."""
    search_path = create_config_search_path(str(CONF))
    if line.config_dir is not None:
        own = f"file://{Path(line.config_dir).resolve()}"
        search_path.prepend("command-line", own, anchor=SearchPathQuery(provider="schema"))
    hydra = Hydra.create_main_hydra2(task_name="degradation", config_search_path=search_path)
    try:
        yield hydra
    finally:
        GlobalHydra.instance().clear()


class Composer:
    """Composes points; those that choose the same files share one composition.

    A composition takes a tenth of a second, and most points of a study differ in plain values:
    those are put into a copy of what was composed, unless something there refers to them.
    """

    def __init__(self) -> None:
        self.parse = cache(OverridesParser.create().parse_override)
        self.composed: dict[tuple[str, ...], Composed] = {}
        self.leaves = {path for path in schema.paths(Settings) if not (CONF / path).is_dir()}

    def __call__(self, overrides: list[str]) -> dict[str, Any]:
        parsed = [self.parse(o) for o in overrides]
        values = [o for o in parsed if self._is_value(o)]
        files = tuple(str(o.input_line) for o in parsed if o not in values)
        if files not in self.composed:
            self.composed[files] = Composed(compose("config", list(files)))
        return self.composed[files].having({o.key_or_group: o.value() for o in values})

    def _is_value(self, override: Override) -> bool:
        """Whether it sets one plain value; all else is left to Hydra, with its errors."""
        plain = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        return plain and override.key_or_group in self.leaves


class Composed:
    """A configuration, into which plain values can be put."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.text = str(OmegaConf.to_container(config, resolve=False))
        self.references = re.findall(r"\$\{([^}]*)", self.text)
        self.container: Any = None

    def having(self, values: dict[str, Any]) -> dict[str, Any]:
        """Its content with `values` by dotted key, everything resolved."""
        if self._stands_by_itself(values):
            self.container = self.container or to_container(self.config)
            found = self.container
            for key, value in values.items():
                found = _with(found, key.split("."), value)
        else:
            config = copy.deepcopy(self.config)
            for key, value in values.items():
                OmegaConf.update(config, key, value, merge=False)
            found = to_container(config)
        return cast(dict[str, Any], found)

    def _stands_by_itself(self, values: dict[str, Any]) -> bool:
        """Whether `values` decide nothing but themselves: nothing in the files refers to them."""
        return (
            "???" not in self.text
            and not any(_may_mean(each, key) for key in values for each in self.references)
            and not any("${" in str(value) for value in values.values())
        )


def _may_mean(reference: str, key: str) -> bool:
    """Whether `${reference}` may be what lies at `key`, above it or below it."""
    if not re.fullmatch(r"\w[\w.]*", reference):  # relative, or a function
        return True
    return f"{reference}.".startswith(f"{key}.") or f"{key}.".startswith(f"{reference}.")


def _with(mapping: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of nested dicts in which `path` leads to `value`."""
    key, *rest = path
    return {**mapping, key: _with(mapping[key], rest, value) if rest else value}


def to_container(config: DictConfig) -> Any:
    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def read(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises schema.Invalid."""
    return schema.read(Settings, to_container(config))


def expand(overrides: list[str], multirun: bool) -> tuple[list[list[str]], str]:
    """The overrides of each point, as Hydra's sweeper would split them; and the launcher."""
    parser = OverridesParser.create()
    base = [o for o in overrides if not parser.parse_override(o).is_sweep_override()]
    config = compose("config", base, return_hydra_config=True)
    hydra = config.hydra
    if not multirun and hydra.mode != RunMode.MULTIRUN:
        return [overrides], launcher(config)
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    parsed = parser.parse_overrides([*params, *overrides])
    batches = BasicSweeper.split_arguments(parsed, None)
    return [list(o) for batch in batches for o in batch], launcher(config)


def _check_names(overrides: list[str]) -> None:
    """Refuse an unknown key or choice with what is allowed, however it is prefixed."""
    loader = GlobalHydra.instance().config_loader()
    groups = [g for g in (*loader.list_groups(""), "hydra") if (CONF / g).is_dir() or g == "sweeps"]
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if key.startswith("hydra"):
            continue
        if key in groups and not override.package:
            _check_choice(loader, key, override)
        else:
            _check_key(key, groups)


def _check_choice(loader: ConfigLoader, group: str, override: Override) -> None:
    known = loader.get_group_options(group)
    for choice in _values(override):
        if isinstance(choice, str) and choice not in known:
            hint = schema.did_you_mean(choice, known)
            raise schema.Invalid(f"{group}={choice}: must be one of {', '.join(known)}{hint}")


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    value = override.value()
    return value if isinstance(value, list) else [value]


def _check_key(key: str, groups: list[str]) -> None:
    known = {*schema.paths(Settings), *groups}
    if key not in known:
        hint = schema.did_you_mean(key, known)
        raise schema.Invalid(f"{key}: no such setting{hint}; `--cfg job` prints all of them")


EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
"""Launchers by Hydra's names, and the extra of this package that brings each."""


def _without_advice(message: str) -> str:
    """Hydra's message, less the search path and the advice to switch its checks off."""
    missing = re.search(r"Could not find 'hydra/launcher/(\w+)'", message)
    if missing and missing[1] in EXTRAS:
        extra = EXTRAS[missing[1]]
        return (f"cluster={extra}: not installed; pip install 'degradation[{extra}]', or say "
                "cluster=serial: one point after the other")  # fmt: skip
    lines = [line for line in message.splitlines() if line.strip()]
    cut = next((i for i, line in enumerate(lines) if "search path" in line), len(lines))
    return "\n".join(lines[:cut][:6])
