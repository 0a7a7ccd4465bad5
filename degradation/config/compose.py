"""The runs that a command line asks for: composed by Hydra, and checked before one of them trains.

    runs_of(["-m", "model=plain,residual", "depth=20,56"])      four Settings

Hydra itself calls `degradation.run` (see commands/train.py); `runs_of` composes the same words
without running anything, for the commands that only show a study.
"""

import argparse
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from degradation.config import errors, validation
from degradation.config.schema import Machine, RunConfig, Settings
from degradation.config.validation import ConfigError
from degradation.system.paths import CONF
from hydra_plugins import study_sweeper

log = logging.getLogger("degradation")

# Hydra finds plugins by listing folders, and so not those of an editable installation.
Plugins.instance().register(study_sweeper.StudySweeper)

VERSION_BASE = "1.3"
NAME = "config"  # conf/config.yaml


@dataclass(frozen=True)
class Study:
    """The runs of a command line, each one once."""

    settings: list[Settings]
    overrides: dict[str, list[str]]
    """By a run's name, the words that compose it."""
    launcher: str
    """Hydra's name for what starts the runs: basic, joblib, submitit_slurm, …"""


def runs_of(words: Sequence[str]) -> list[Settings]:
    """The settings of each run that a command line asks for, in order. Raises ConfigError."""
    line = arguments(words)
    overrides = list(line.overrides)
    if line.config_dir is not None:
        folder = Path(line.config_dir).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={line.config_dir}: must be a folder")
        overrides.append(f"hydra.searchpath=[file://{folder}]")
    with errors.for_people(), initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        mode = RunMode.MULTIRUN if line.multirun else hydra.get_mode(NAME, overrides)
        config = hydra.compose_config(NAME, overrides, mode or RunMode.RUN)
        if mode == RunMode.MULTIRUN:
            return expanded(hydra.config_loader, config).settings
        return [read(config)]


def expanded(loader: ConfigLoader, config: DictConfig) -> Study:
    """The runs of a multirun, in the order in which Hydra's own sweeper has them.

    `config` is what Hydra composed for the whole of it. Raises ConfigError.
    """
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    words: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    parsed = parser.parse_overrides([*params, *words])
    jobs = [list(job) for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
    if not jobs:
        raise ConfigError("no run is asked for: an axis has no value; give it one, as in seed=0")
    settings: dict[str, Settings] = {}
    overrides: dict[str, list[str]] = {}
    for job in jobs:
        one = read(loader.load_sweep_config(config, job))
        settings[one.config.name], overrides[one.config.name] = one, job
    if twice := len(jobs) - len(settings):
        log.info("%d of %d runs are asked for twice: each is trained once", twice, len(jobs))
    launcher = str(config.hydra.runtime.choices["hydra/launcher"])
    return Study(list(settings.values()), overrides, launcher)


def read(config: DictConfig) -> Settings:
    """The settings in a composed configuration. Raises ConfigError."""
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    content: Any = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    _refuse_secrets(str(content))
    machine = content.pop("machine", None)
    return Settings(
        validation.read(RunConfig, content), validation.read(Machine, machine, "machine")
    )


def _refuse_secrets(text: str) -> None:
    """Keep W&B's key out of the settings, since those are written into the run's folder."""
    key = os.environ.get("WANDB_API_KEY")
    if (key and key in text) or re.search(r"'[0-9a-f]{40}'|\bwandb_v\d_\w+", text):
        raise ConfigError(
            "a key of W&B stands among the settings, and those are written into the run's folder "
            "and sent to W&B;\nset WANDB_API_KEY, or run `wandb login` once"
        )


def in_order(words: Sequence[str]) -> list[str]:
    """`words` with the settings behind Hydra's options, where argparse alone finds them all.

    Raises ConfigError, with the line as it would be right, for an option that Hydra doesn't have.
    """
    settings = [word for word in words if re.match("~|[^-].*=", word)]
    ordered = [*(word for word in words if word not in settings), *settings]
    line, unknown = get_args_parser().parse_known_args(ordered)
    if wrong := next((word for word in unknown if word.startswith("-")), None):
        raise ConfigError(f"{wrong}: no such option; {_corrected(words, wrong)}")
    if line.cfg or line.info:
        # Hydra shows what it has composed for the whole study, and refuses -m beside that.
        return [word for word in ordered if word not in ("-m", "--multirun")]
    return ordered


def _corrected(words: Sequence[str], wrong: str) -> str:
    """What `--depth 20` was meant to be."""
    at, (key, _, value) = list(words).index(wrong), wrong.lstrip("-").partition("=")
    following = list(words[at + 1 :])
    if not value and following and re.match("[^-=]+$", following[0]):
        value = following.pop(0)
    line = " ".join([*words[:at], f"{key}={value or '…'}", *following])
    return f"settings are given as key=value: {line}"


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """A command line as Hydra's own parser reads it. Raises ConfigError."""
    line: argparse.Namespace = get_args_parser().parse_args(in_order(words))
    return line
