"""What a command line asks for: its points, each composed and checked before any of them trains.

Hydra composes a sweep's points one by one as it launches them; here all are composed first, by the
same rules, so that a bad point is known before the first one costs an hour, and so that what a
study lacks can be told (`status`, `plan`).
"""

import argparse
import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override, OverrideType, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from degradation import config_dir, guard, hydra_errors, names, schema
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

    @property
    def serial(self) -> bool:
        """Whether points are left to this process, not to a launcher."""
        named = ("cluster=", "hydra/launcher=")
        return not any(o.lstrip("+").startswith(named) for o in self.overrides)

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
    with hydra_errors.for_people(), _hydra(line.config_dir):
        names.check(line.overrides)
        compose_one = Composer()
        points = _expand(compose_one, line.overrides, line.multirun)
        found = [read(compose_one(overrides)) for overrides in points]
    different = {s.point.name: s for s in found}
    if twice := len(found) - len(different):
        log.info("%d of %d points are asked for more than once: each is trained once",
                 twice, len(found))  # fmt: skip
    return list(different.values())


def check_question(line: Line) -> None:
    """Refuse what answering would act on, where `line` only asks. Raises schema.Invalid."""
    if not line.completes:
        with hydra_errors.for_people(), _hydra(line.config_dir):
            Composer().hydra(line.overrides)


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
        self.parser = names.parser()
        self.composed: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}
        self.leaves = {path for path in schema.paths(Settings) if not (CONF / path).is_dir()}

    def __call__(self, overrides: list[str]) -> DictConfig:
        """Our part of what Hydra composes."""
        values, files = self._sorted(overrides)
        config = copy.deepcopy(self._compose(files)[0])
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=False)
        return config

    def hydra(self, overrides: list[str]) -> DictConfig:
        """Hydra's own part, which no plain value of ours changes."""
        return self._compose(self._sorted(overrides)[1])[1]

    def _sorted(self, overrides: list[str]) -> tuple[list[Override], tuple[str, ...]]:
        """Those that set one plain value, and all others, which are left to Hydra."""
        parsed = self.parser.parse_overrides(overrides)
        values = [o for o in parsed if self._is_value(o)]
        return values, tuple(str(o.input_line) for o in parsed if o not in values)

    def _is_value(self, override: Override) -> bool:
        plain = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        return plain and override.key_or_group in self.leaves

    def _compose(self, files: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """Both parts, once Hydra's is found to be harmless. Raises schema.Invalid."""
        if files not in self.composed:
            config = compose("config", list(files), return_hydra_config=True)
            hydra = config.hydra
            guard.check(hydra, [o.lstrip("+~").partition("=")[0] for o in files])
            with read_write(config), open_dict(config):
                del config["hydra"]
            guard.check_repeats(OmegaConf.to_container(config, resolve=False))
            self.composed[files] = config, hydra
        return self.composed[files]


def read(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises schema.Invalid."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return schema.read(Settings, container)


def _expand(compose_one: Composer, overrides: list[str], multirun: bool) -> list[list[str]]:
    """The overrides of each point, as Hydra's sweeper would split them."""
    parser = names.parser()
    base = [o for o in overrides if not parser.parse_override(o).is_sweep_override()]
    hydra = compose_one.hydra(base)
    if not multirun and hydra.mode != RunMode.MULTIRUN:
        return [overrides]
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    names.check(params)
    parsed = parser.parse_overrides([*params, *overrides])
    axes = {o.key_or_group: _length(o) for o in parsed}
    if (size := math.prod(axes.values())) > MAX_POINTS:
        longest = max(axes, key=lambda key: axes[key])
        raise Invalid(f"{size:,} points: must be at most {MAX_POINTS:,}; shorten {longest}=…")
    return [list(o) for batch in BasicSweeper.split_arguments(parsed, None) for o in batch]


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
