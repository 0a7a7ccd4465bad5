"""What Hydra, OmegaConf and YAML complain of, as people need it: key, value, allowed, remedy."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from degradation.config import config_dir, names
from degradation.config.validation import ConfigError
from degradation.system import console


@contextmanager
def for_people() -> Iterator[None]:
    """Raise what the libraries raise as ConfigError: what is wrong, and nothing about themselves."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise ConfigError(_interpolation_fault(error)) from error
    except HydraException as error:
        raise ConfigError(_without_advice(str(error))) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(config_dir.fault(error, Path(mark.name if mark else "?"))) from error
    except RecursionError as error:
        raise ConfigError(
            "the settings refer to themselves or nest too deep: write them flat"
        ) from error
    except (ValueError, LookupError, OSError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"not a setting: {console.short_repr(str(error))}") from error


def _without_advice(message: str) -> str:
    """Hydra's message, less the search path and the advice to switch its checks off."""
    if missing := re.search(r"Could not find '([\w/]+)/([^'/]*)'", message):
        group, name = missing.groups()
        if group == "hydra/launcher":
            return names.no_launcher(name)
        known = re.findall(r"^\t(\S+)$", message.partition("Available options in")[2], re.M)
        hint = console.did_you_mean(name, known)
        return f"{group}={console.short_repr(name)}: must be one of {', '.join(known) or 'none'}{hint}"
    if unknown := re.match(r"Could not override '([\w./@]+)'", message):
        return f"{unknown[1]}: no such setting; `--cfg all` prints all of them"
    if several := re.match(r"Ambiguous value for argument '(([^=]+)=.*)'", message):
        key, text = several[2], console.short_repr(several[1])
        return f"{text}: several values; add -m (--multirun) to train each, or {key}=[…] for a list"
    lines = [console.escape_control_chars(line)[:200] for line in message.splitlines() if line.strip()]
    cut = next((i for i, line in enumerate(lines) if "search path" in line), len(lines))
    return "\n".join([line for line in lines[:cut] if "https://hydra.cc" not in line][:5])


def _interpolation_fault(error: OmegaConfBaseException) -> str:
    """The key, what is wrong with its value, and what to do."""
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error.msg or error))
    said = console.escape_control_chars(said.splitlines()[0])[:400]
    key = f"{error.full_key}: " if error.full_key else ""
    remedy = f"; give it as {error.full_key}=…" if error.full_key else ""
    return f"{key}{said}{'' if ';' in said else remedy}"
