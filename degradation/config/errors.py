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
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise ConfigError(
            "null is no choice of a group of settings; give one by its name, as in recipe=digits"
        ) from error


def message(error: Exception) -> str:
    """The message of Hydra, OmegaConf or YAML for people."""
    if isinstance(error.__cause__, OmegaConfBaseException) and not str(error):
        error = error.__cause__
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'the settings'}: {str(error).splitlines()[0]}"
    text = str(error)
    if match := re.search("(Error parsing override|no viable|mismatched|extraneous) .*", text):
        return (
            f"{match[0]}: settings are given as key=value; quote what holds brackets, commas or "
            "spaces: key='…'"
        )
    if match := re.search(r"Could not find '([\w/]+)/([^'/]*)'", text):
        return _no_such_choice(match[1], match[2], text)
    if match := re.search(r"Could not override '([\w./@]+)'", text):
        groups = (path.name for path in CONF.iterdir() if path.is_dir())
        return no_such_setting(match[1], [*schema.keys(), *groups])
    if match := re.search(r"Ambiguous value for argument '((.*?)=.*)'", text):
        return (
            f"{match[1]}: several values; add -m (--multirun) to train each, or {match[2]}=[…] for "
            "a list"
        )
    text = escape_control_chars(text.expandtabs())
    lines = [line[:200] for line in text.splitlines() if line.strip()]
    return "\n".join([line for line in lines if "https://hydra.cc" not in line][:MOST_LINES])


def _no_such_choice(group: str, name: str, text: str) -> str:
    if group == "hydra/launcher" and (extra := EXTRAS.get(name)):
        return (
            f"cluster={extra}: not installed; pip install 'degradation[{extra}]', or give "
            "cluster=serial: one run after the other"
        )
    known = re.findall(r"^\t(\S+)$", text.partition("Available options in")[2], re.M)
    return f"{group}={name}: must be one of {', '.join(known) or 'none'}{did_you_mean(name, known)}"
