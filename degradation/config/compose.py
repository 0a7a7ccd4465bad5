"""Points out of files and words: composed by Hydra, and checked as data before anything acts on it.

Used inside `study.prepared`, which sets Hydra up.
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override, OverrideType, RangeSweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from degradation.config import guard, names, schema
from degradation.config.validation import ConfigError
from degradation.system.paths import CONF

MAX_POINTS = 10_000  # of one command


class Composer:
    """Composes points; those that choose the same files share one composition.

    A composition takes a tenth of a second, and most points of a study differ in plain values:
    those are put into a copy of what was composed, unless something there refers to them.
    """

    def __init__(self) -> None:
        self.parse = cache(names.parser().parse_override)
        self.composed: dict[tuple[str, ...], Composed] = {}
        self.leaves = {path for path in schema.keys() if not (CONF / path).is_dir()}

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Our part of what Hydra composes, resolved."""
        values, files = self._sorted(overrides)
        return self._compose(files).having(values)

    def hydra(self, overrides: Sequence[str]) -> DictConfig:
        """Hydra's own part, which no plain value of ours changes."""
        return self._compose(self._sorted(overrides)[1]).hydra

    def _sorted(self, overrides: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The plain values by key, and the words that are left to Hydra."""
        values, files = {}, []
        for word in overrides:
            override = self.parse(word)
            if self._is_value(override):
                values[override.key_or_group] = override.value()
            else:
                files.append(word)
        return values, tuple(files)

    def _is_value(self, override: Override) -> bool:
        plain = override.type == OverrideType.CHANGE and not override.is_sweep_override()
        return plain and override.key_or_group in self.leaves

    def _compose(self, files: tuple[str, ...]) -> "Composed":
        """Both parts, once Hydra's is found to be harmless. Raises ConfigError."""
        if files not in self.composed:
            config = compose("config", list(files), return_hydra_config=True)
            hydra = config.hydra
            guard.check(hydra, [word.lstrip("+~").partition("=")[0] for word in files])
            with read_write(config), open_dict(config):
                del config["hydra"]
            guard.check_repeats(OmegaConf.to_container(config, resolve=False))
            self.composed[files] = Composed(config, hydra)
        return self.composed[files]


class Composed:
    """A configuration, into which plain values can be put; and Hydra's own part beside it."""

    def __init__(self, config: DictConfig, hydra: DictConfig) -> None:
        self.config, self.hydra = config, hydra
        self.text = str(OmegaConf.to_container(config, resolve=False))
        self.references = re.findall(r"\$\{([^}]*)", self.text)
        self.container: Any = None

    def having(self, values: Mapping[str, Any]) -> dict[str, Any]:
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

    def _stands_by_itself(self, values: Mapping[str, Any]) -> bool:
        """Whether `values` decide nothing but themselves: nothing in the files refers to them."""
        return (
            "???" not in self.text
            and not any(_may_mean(each, key) for key in values for each in self.references)
            and not any("${" in str(value) or value == "???" for value in values.values())
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


def launcher(hydra: DictConfig) -> str:
    """The launcher that a configuration has chosen, by Hydra's name."""
    return str(hydra.runtime.choices["hydra/launcher"])


def expand(
    compose_one: Composer, overrides: Sequence[str], multirun: bool
) -> tuple[list[list[str]], str]:
    """The overrides of each run, as Hydra's sweeper would split them; and the launcher."""
    parser = names.parser()
    base = [o for o in overrides if not parser.parse_override(o).is_sweep_override()]
    hydra = compose_one.hydra(base)
    if not multirun and hydra.mode != RunMode.MULTIRUN:
        return [list(overrides)], launcher(hydra)
    params = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()]
    names.check(params)
    parsed = parser.parse_overrides([*params, *overrides])
    axes = {o.key_or_group: _length(o) for o in parsed}
    if (size := math.prod(axes.values())) > MAX_POINTS:
        longest = max(axes, key=lambda key: axes[key])
        raise ConfigError(f"{size:,} points: must be at most {MAX_POINTS:,}; shorten {longest}=…")
    batches = BasicSweeper.split_arguments(parsed, None)
    return [list(o) for batch in batches for o in batch], launcher(hydra)


def _length(override: Override) -> int:
    """How many values a sweep has along `override`; without making them."""
    if not override.is_sweep_override():
        return 1
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = (float(n or 0) for n in (value.start, value.stop, value.step))
        if not step or not math.isfinite(start + stop + step):
            raise ConfigError(f"{override.input_line}: must be range(START,STOP,STEP) with a step")
        return max(0, math.ceil((stop - start) / step))
    return sum(1 for _ in override.sweep_string_iterator())
