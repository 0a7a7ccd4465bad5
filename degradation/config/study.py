"""What a command line asks for: its points, each composed and checked before any of them trains.

Hydra composes a sweep's points one by one as it launches them; here all are composed first, by the
same rules, so that a bad run is known before the first one costs an hour, and so that what a
study lacks can be told (`status`, `plan`).
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig

from degradation.config import (
    compose,
    config_dir,
    errors,
    guard,
    names,
    schema,
)
from degradation.config.schema import Settings
from degradation.config.validation import ConfigError
from degradation.system import console
from degradation.system.paths import CONF, TOP

log = logging.getLogger("degradation")


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
        """Raises ConfigError for what isn't one, and for what only a stranger's line would hold."""
        guard.check_arguments(arguments)
        parser = get_args_parser()
        parser.error = _no_such_option  # type: ignore[method-assign]
        args: argparse.Namespace = parser.parse_args(list(arguments))
        for option in ("config_name", "config_path", "experimental_rerun"):  # the last unpickles
            if getattr(args, option) is not None:
                raise ConfigError(f"--{option.replace('_', '-')}: not taken; own files go into a "
                              "folder that --config-dir=FOLDER names")  # fmt: skip
        asks = args.help or args.hydra_help or args.cfg or args.info
        completes = bool(args.shell_completion)
        asks = bool(asks or completes)
        return cls(args.overrides, args.multirun, args.config_dir, asks, completes)


def _no_such_option(message: str) -> NoReturn:
    order = "; -m and other options come before the settings" if "=" in message else ""
    raise ConfigError(
        f"{console.short_repr(message)}; settings are given as key=value{order}, see --help"
    )


@dataclass(frozen=True)
class Asked:
    """What a command line asks for."""

    settings: list[Settings]
    """Of each run, in order, each one once."""
    overrides: dict[str, list[str]]
    """Of each run by name: the words that make it this one."""
    launcher: str
    """Hydra's name for what runs the points: basic, joblib, submitit_slurm, …"""


def settings(line: Line) -> list[Settings]:
    """The settings of each run that `line` asks for, in order, each one once.

    Raises schema.ConfigError for what can't be: an unknown name or key, a value out of range.
    """
    return asked(line).settings


def asked(line: Line) -> Asked:
    """All that `line` asks for. Raises schema.ConfigError as `settings` does."""
    with prepared(line):
        names.check(line.overrides)
        compose_one = compose.Composer()
        overrides, launcher = compose.expand(compose_one, line.overrides, line.multirun)
        found = [schema.read_settings(compose_one(each)) for each in overrides]
    different = {s.config.name: s for s in found}
    if twice := len(found) - len(different):
        log.info("%d of %d points are asked for more than once: each is trained once",
                 twice, len(found))  # fmt: skip
    words = {s.config.name: each for s, each in zip(found, overrides, strict=True)}
    return Asked(list(different.values()), words, launcher)


def check_question(line: Line) -> None:
    """Refuse what answering would act on, where `line` only asks. Raises schema.ConfigError."""
    if not line.completes:
        with prepared(line):
            compose.Composer().hydra(line.overrides)


@contextmanager
def prepared(line: Line) -> Iterator[Hydra]:
    """Hydra set up as its own command line does it, `--config-dir` included.

    What it raises inside is raised as schema.ConfigError.
    """
    with errors.for_people():
        config_dir.check(line.config_dir, CONF)
        search_path = create_config_search_path(str(CONF))
        if line.config_dir is not None:
            own = f"file://{Path(line.config_dir).resolve()}"
            search_path.prepend("command-line", own, anchor=SearchPathQuery(provider="schema"))
        hydra = Hydra.create_main_hydra2(task_name="degradation", config_search_path=search_path)
        try:
            yield hydra
        finally:
            GlobalHydra.instance().clear()


def read(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises schema.ConfigError."""
    return schema.read_settings(compose.to_container(config))
