"""What a command line asks for: its points, each composed and checked before any of them trains.

Hydra composes a sweep's points one by one as it launches them; here all are composed first, by the
same rules, so that a bad point is known before the first one costs an hour, and so that what a
study lacks can be told (`status`, `plan`).
"""

import argparse
import copy
import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, RangeSweep
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from degradation import config_dir, guard, schema
from degradation.places import CONF, TOP
from degradation.schema import Invalid
from degradation.spec import Settings

log = logging.getLogger("degradation")

MAX_POINTS = 10_000  # of one command


class SweepsFolder(SearchPathPlugin):
    """Lets `+sweeps=NAME` find the folder `sweeps/` beside `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="degradation", path=f"file://{TOP}")


Plugins.instance().register(SweepsFolder)
guard.limit_environment()


@dataclass(frozen=True)
class Line:
    """A command line as Hydra reads it."""

    overrides: list[str]
    multirun: bool
    config_dir: str | None
    asks: bool
    """It only wants to be told something: --help, --cfg, --info, completion."""
    completes: bool = False
    """It asks for completion: its words are no settings."""

    @classmethod
    def read(cls, arguments: Sequence[str]) -> "Line":
        """Raises Invalid for what isn't one, and for what only a stranger's line would hold."""
        guard.check_arguments(arguments)
        parser = get_args_parser()
        parser.error = _no_such_option  # type: ignore[method-assign]
        args: argparse.Namespace = parser.parse_args(list(arguments))
        for option in ("config_name", "config_path", "experimental_rerun"):  # the last unpickles
            if getattr(args, option) is not None:
                raise Invalid(f"--{option.replace('_', '-')}: not taken; own files go into a "
                              "folder that --config-dir=FOLDER names")  # fmt: skip
        asks = args.help or args.hydra_help or args.cfg or args.info
        completes = bool(args.shell_completion)
        asks = bool(asks or completes)
        return cls(args.overrides, args.multirun, args.config_dir, asks, completes)


def _no_such_option(message: str) -> NoReturn:
    order = "; -m and other options come before the settings" if "=" in message else ""
    raise Invalid(f"{schema.bare(message)}; settings are given as key=value{order}, see --help")


def settings(line: Line) -> list[Settings]:
    """The settings of each point that `line` asks for, in order, each one once.

    Raises schema.Invalid for what can't be: an unknown name or key, a value out of range.
    """
    with _for_people(), _hydra(line.config_dir):
        _check_names(line.overrides)
        compose_one = Composer()
        found = [read(compose_one(o)) for o in _expand(line.overrides, line.multirun)]
    points = {s.point.name: s for s in found}
    if twice := len(found) - len(points):
        log.info("%d of %d points are asked for more than once: each is trained once",
                 twice, len(found))  # fmt: skip
    return list(points.values())


def check_question(line: Line) -> None:
    """Refuse what answering would act on, where `line` only asks. Raises schema.Invalid."""
    if not line.completes:
        with _for_people(), _hydra(line.config_dir):
            _compose(line.overrides)


@contextmanager
def _for_people() -> Iterator[None]:
    """Raise what the libraries raise as Invalid: what is wrong, and nothing about themselves."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise Invalid(_interpolation_fault(error)) from error
    except HydraException as error:
        raise Invalid(_without_advice(str(error))) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Invalid(config_dir.fault(error, Path(mark.name if mark else "?"))) from error
    except RecursionError as error:
        raise Invalid(
            "the settings refer to themselves or nest too deep: write them flat"
        ) from error
    except (ValueError, LookupError, OSError) as error:
        if isinstance(error, Invalid):
            raise
        raise Invalid(f"not a setting: {schema.bare(str(error))}") from error


@contextmanager
def _hydra(own_folder: str | None) -> Iterator[None]:
    """Hydra set up as its own command line does it, `--config-dir` included."""
    config_dir.check(own_folder, CONF)
    search_path = create_config_search_path(str(CONF))
    if own_folder is not None:
        own = f"file://{Path(own_folder).resolve()}"
        search_path.prepend("command-line", own, anchor=SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2(task_name="degradation", config_search_path=search_path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


class Composer:
    """Composes points; those that choose the same files share one composition.

    A composition takes a tenth of a second, and most points of a study differ in plain values.
    """

    def __init__(self) -> None:
        self.parser = _parser()
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.leaves = {path for path in schema.paths(Settings) if not (CONF / path).is_dir()}

    def __call__(self, overrides: list[str]) -> DictConfig:
        parsed = self.parser.parse_overrides(overrides)
        values = [o for o in parsed if self._is_value(o)]
        files = tuple(str(o.input_line) for o in parsed if o not in values)
        if files not in self.composed:
            self.composed[files] = _compose(list(files))
        config = copy.deepcopy(self.composed[files])
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=False)
        return config

    def _is_value(self, override: Override) -> bool:
        """Whether it sets one plain value; all else is left to Hydra, with its errors."""
        plain = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        return plain and override.key_or_group in self.leaves


def _compose(overrides: list[str]) -> DictConfig:
    """Our part of what Hydra composes, once its own part is found to be harmless."""
    config = compose("config", overrides, return_hydra_config=True)
    guard.check(config.hydra, [o.lstrip("+~").partition("=")[0] for o in overrides])
    with read_write(config), open_dict(config):
        del config["hydra"]
    guard.check_repeats(OmegaConf.to_container(config, resolve=False))
    return config


def read(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises schema.Invalid."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return schema.read(Settings, container)


def _expand(overrides: list[str], multirun: bool) -> list[list[str]]:
    """The overrides of each point, as Hydra's sweeper would split them."""
    parser = _parser()
    base = [o for o in overrides if not parser.parse_override(o).is_sweep_override()]
    hydra = compose("config", base, return_hydra_config=True).hydra
    guard.check(hydra, [o.lstrip("+~").partition("=")[0] for o in base])
    if not multirun and hydra.mode != RunMode.MULTIRUN:
        return [overrides]
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    _check_names(params)
    parsed = parser.parse_overrides([*params, *overrides])
    axes = {o.key_or_group: _length(o) for o in parsed}
    if (size := math.prod(axes.values())) > MAX_POINTS:
        longest = max(axes, key=lambda key: axes[key])
        raise Invalid(f"{size:,} points: must be at most {MAX_POINTS:,}; shorten {longest}=…")
    return [list(o) for batch in BasicSweeper.split_arguments(parsed, None) for o in batch]


def _parser() -> OverridesParser:
    """With the loader, which `glob(…)` asks for names."""
    return OverridesParser.create(GlobalHydra.instance().config_loader())


def _length(override: Override) -> int:
    """How many values a sweep has along `override`; without making them."""
    if not override.is_sweep_override():
        return 1
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(n or 0) for n in (value.start, value.stop, value.step))
        if not step or not math.isfinite(start + stop + step):
            raise Invalid(f"{override.input_line}: must be range(START,STOP,STEP) with a step")
        return max(0, math.ceil((stop - start) / step))
    return sum(1 for _ in override.sweep_string_iterator())


def _check_names(overrides: list[str]) -> None:
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
            raise Invalid(f"{schema.bare(text)}: `@` is not taken; give it as {key}=…")
        if override.is_add() and not override.is_force_add() and key != "sweeps":
            _check_key(key, groups)
            raise Invalid(f"{schema.bare(text)}: {key} is there already; give it as {key}=…")
        if key in groups:
            _check_choice(loader, key, override)
        else:
            _check_key(key, groups)


def _parsed(text: str) -> Override:
    try:
        (override,) = _parser().parse_overrides([text])
    except HydraException as error:
        lines = (line.rpartition("': ")[2] for line in str(error).splitlines())
        why = next((line for line in lines if "hydra.cc" not in line and "Error" not in line), "")
        raise Invalid(f"{schema.bare(text)}: must be key=value ({schema.shown(why)[:100]}); quote "
                      "what holds brackets, commas or spaces: key='…'") from error  # fmt: skip
    return override


def _check_choice(loader: ConfigLoader, group: str, override: Override) -> None:
    known = loader.get_group_options(group)
    if override.is_delete():
        raise Invalid(f"~{group}: must be one of {', '.join(known)}; give it as {group}=NAME")
    for choice in _values(override):
        if not isinstance(choice, str) or choice not in known:
            hint = schema.did_you_mean(str(choice), known)
            several = f"; several: -m {group}=A,B" if isinstance(choice, list) else ""
            raise Invalid(f"{group}={schema.bare(choice)}: must be one of {', '.join(known)}{hint}"
                          f"{several}")  # fmt: skip


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return [str(v) for v in override.sweep_string_iterator()]
    return [override.value()]


def _check_key(key: str, groups: list[str]) -> None:
    known = {*schema.paths(Settings), *groups}
    if key not in known:
        hint = schema.did_you_mean(key, known)
        raise Invalid(f"{schema.bare(key)}: no such setting{hint}; `--cfg job` prints all of them")


def _check_launcher(override: Override) -> None:
    """Say which package a launcher comes with, where it isn't installed."""
    if override.key_or_group != "hydra/launcher" or override.is_delete():
        return
    known = GlobalHydra.instance().config_loader().get_group_options("hydra/launcher")
    for choice in _values(override):
        if choice not in known:
            raise Invalid(_no_launcher(str(choice)))


_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
}


def _no_launcher(name: str) -> str:
    if name in _PACKAGES:
        return f"hydra/launcher={name}: not installed; pip install {_PACKAGES[name]}"
    hint = schema.did_you_mean(name, _PACKAGES)
    return f"hydra/launcher={schema.bare(name)}: must be one of basic, {', '.join(_PACKAGES)}{hint}"


def _without_advice(message: str) -> str:
    """Hydra's message, less the search path and the advice to switch its checks off."""
    if missing := re.search(r"Could not find '([\w/]+)/([^'/]*)'", message):
        group, name = missing.groups()
        if group == "hydra/launcher":
            return _no_launcher(name)
        known = re.findall(r"^\t(\S+)$", message.partition("Available options in")[2], re.M)
        hint = schema.did_you_mean(name, known)
        return f"{group}={schema.bare(name)}: must be one of {', '.join(known) or 'none'}{hint}"
    if unknown := re.match(r"Could not override '([\w./@]+)'", message):
        return f"{unknown[1]}: no such setting; `--cfg all` prints all of them"
    if several := re.match(r"Ambiguous value for argument '(([^=]+)=.*)'", message):
        key, text = several[2], schema.bare(several[1])
        return f"{text}: several values; add -m (--multirun) to train each, or {key}=[…] for a list"
    lines = [schema.shown(line)[:200] for line in message.splitlines() if line.strip()]
    cut = next((i for i, line in enumerate(lines) if "search path" in line), len(lines))
    return "\n".join([line for line in lines[:cut] if "https://hydra.cc" not in line][:5])


def _interpolation_fault(error: OmegaConfBaseException) -> str:
    """The key, what is wrong with its value, and what to do."""
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error.msg or error))
    said = schema.shown(said.splitlines()[0])[:400]
    key = f"{error.full_key}: " if error.full_key else ""
    remedy = f"; give it as {error.full_key}=…" if error.full_key else ""
    return f"{key}{said}{'' if ';' in said else remedy}"
