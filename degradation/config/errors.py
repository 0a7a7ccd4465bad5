"""What Hydra and OmegaConf complain of, as a ConfigError: the key, the value, what is allowed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from degradation.config import schema
from degradation.config.validation import ConfigError, no_such_setting
from degradation.system.console import did_you_mean, escape_control_chars
from degradation.system.paths import CONF

# The extra of this package that brings a launcher, by the launcher's name at Hydra.
EXTRAS = {"joblib": "joblib", "submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
MOST_LINES = 5


@contextmanager
def for_people() -> Iterator[None]:
    """Raise what the libraries raise as ConfigError, without what they say of themselves."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(message(error)) from error


def message(error: Exception) -> str:
    """The message of Hydra, OmegaConf or YAML for people."""
    if isinstance(error.__cause__, OmegaConfBaseException) and not str(error):
        error = error.__cause__
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'the settings'}: {str(error).splitlines()[0]}"
    text = str(error)
    for pattern, explain in _EXPLAINED:
        if match := re.search(pattern, text):
            return explain(match, text)
    lines = [escape_control_chars(line)[:200] for line in text.splitlines() if line.strip()]
    cut = next((i for i, line in enumerate(lines) if "search path" in line), len(lines))
    return "\n".join([line for line in lines[:cut] if "https://hydra.cc" not in line][:MOST_LINES])


def _no_such_choice(match: re.Match[str], text: str) -> str:
    group, name = match.groups()
    if group == "hydra/launcher" and (extra := EXTRAS.get(name)):
        return (
            f"cluster={extra}: not installed; pip install 'degradation[{extra}]', or give "
            "cluster=serial: one run after the other"
        )
    known = re.findall(r"^\t(\S+)$", text.partition("Available options in")[2], re.M)
    allowed = ", ".join(known) or "none"
    return f"{group}={name}: must be one of {allowed}{did_you_mean(name, known)}"


def _no_such_key(match: re.Match[str], text: str) -> str:
    return no_such_setting(match[1], [*schema.keys(), *groups()])


def _several_values(match: re.Match[str], text: str) -> str:
    given, key = match.groups()
    return f"{given}: several values; add -m (--multirun) to train each, or {key}=[…] for a list"


def _no_setting(match: re.Match[str], text: str) -> str:
    return (
        f"{match[0]}: settings are given as key=value; quote what holds brackets, commas or "
        "spaces: key='…'"
    )


_EXPLAINED = [
    (r"Error parsing override '.*'|(no viable|mismatched|extraneous) .*", _no_setting),
    (r"Could not find '([\w/]+)/([^'/]*)'", _no_such_choice),
    (r"Could not override '([\w./@]+)'", _no_such_key),
    (r"Ambiguous value for argument '(([^=]+)=.*)'", _several_values),
]


def groups() -> list[str]:
    """The groups of files that a command line may choose from."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir())
