"""A configuration is data, whoever wrote it: what of it Hydra would act on is checked before.

Hydra imports and calls what a configuration names (launcher, sweeper, callbacks, logging), makes
the folders it names and sets its environment variables, so that a `--config-dir` from somebody else
would be a program. Of all that, what this project uses is allowed, and nothing else. Secrets have
no place on a command line, which every user of the machine can read: they are refused, unrepeated.
"""

import fnmatch
import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from degradation.config.validation import ConfigError
from degradation.system.console import short_repr

# Environment variables that a configuration may read: places and numbers, no secrets.
READABLE = (
    "HOME", "USER", "LOGNAME", "HOSTNAME", "PWD", "TMPDIR", "SCRATCH", "WORK",
    "CUDA_VISIBLE_DEVICES", "SLURM_*", "DEGRADATION_*",
)  # fmt: skip

LAUNCHERS = {
    f"hydra{path}": name
    for path, name in {
        "._internal.core_plugins.basic_launcher.BasicLauncher": "basic",
        "_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": "joblib",
        "_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": "submitit_slurm",
        "_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": "submitit_local",
        "_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": "ray",
    }.items()
}
SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"

# What Hydra would do with these is settled; a difference is refused.
SETTLED: dict[str, Any] = {
    "run": {"dir": "${machine.runs}/.hydra"},
    "sweep": {"dir": "${machine.runs}/.hydra", "subdir": "."},
    "output_subdir": None,
    "callbacks": {},
    "searchpath": [],
    "env": None,
}
SETTLED_JOB = {"name": "degradation", "chdir": False, "env_set": {}, "env_copy": []}
# What Hydra only counts by, prints, or fills in itself.
FREE = {"mode", "verbose", "help", "hydra_help", "overrides", "runtime"}
CHECKED = {"launcher", "sweeper", "job", "job_logging", "hydra_logging"}

# Of a launcher: commands and folders, for the command line alone; words, as long as they are words.
TYPED = {"setup", "python", "srun_args", "additional_parameters", "temp_folder", "init", "remote"}
WORD = re.compile(r"[A-Za-z0-9_.,:@%+*=-]*")
WORDS = {"${hydra.job.name}", "${hydra.sweep.dir}/.submitit/%j"}

STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
HANDLERS = {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler"}

SECRET = re.compile(
    r"[-+~]*([\w./@-]*(key|token|passw(or)?d|secret|credential)s?)[\w./@-]*[=:]", re.I
)
MAX_ARGUMENT = 2_000
MAX_REPEATS = 12


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse secrets, what would import code while composing, and characters that no one can see.

    Raises ConfigError, without the value.
    """
    for argument in arguments:
        if found := SECRET.match(argument):
            raise ConfigError(
                f"{found[1].lstrip('-')}=…: no secret on a command line, where every user of this "
                "machine can read it;\nset WANDB_API_KEY, or run `wandb login` once"
            )
        if re.match(r"[+~]*hydra[./]searchpath", argument):
            raise _refused("hydra.searchpath", "give your folder as --config-dir=FOLDER")
        if len(argument) > MAX_ARGUMENT:
            raise ConfigError(f"{short_repr(argument)}: {len(argument):,} characters; must be at most "
                          f"{MAX_ARGUMENT:,}; numbers in a row are range(START,STOP)")  # fmt: skip
        if not argument.isprintable():
            raise ConfigError(
                f"{short_repr(argument)}: holds characters that no setting can; type it anew"
            )


def check(hydra: DictConfig, typed: Sequence[str] = ()) -> None:
    """Refuse a composed `hydra` part that would do what this project doesn't.

    `typed`: the keys that the command line itself sets. Raises ConfigError.
    """
    part: Any = OmegaConf.to_container(hydra, resolve=False)
    for key, value in part.items():
        if key in SETTLED:
            _settled(f"hydra.{key}", value, SETTLED[key])
        elif key not in FREE | CHECKED:
            raise _refused(f"hydra.{key}", "remove it")
    for key, value in SETTLED_JOB.items():
        _settled(f"hydra.job.{key}", part["job"].get(key), value)
    _target("hydra.launcher", part["launcher"], set(LAUNCHERS))
    _target("hydra.sweeper", part["sweeper"], {SWEEPER})
    _launcher("hydra.launcher", part["launcher"], set(typed))
    _no_targets("hydra.sweeper", part["sweeper"])
    for key in ("job_logging", "hydra_logging"):
        _logging(f"hydra.{key}", part[key])


def _refused(key: str, remedy: str) -> ConfigError:
    return ConfigError(f"{key}: not for a configuration to set; {remedy}")


def _settled(key: str, value: Any, wanted: Any) -> None:
    if isinstance(wanted, dict) and isinstance(value, dict) and wanted:
        for name in wanted:
            _settled(f"{key}.{name}", value.get(name), wanted[name])
    elif value != wanted and (value or wanted):
        where = "; machine.runs says where runs go" if "dir" in key else ""
        raise ConfigError(f"{key}={short_repr(value)}: must stay {wanted!r}{where}")


def _target(key: str, value: Any, allowed: set[str]) -> None:
    name = value.get("_target_") if isinstance(value, dict) else None
    if name not in allowed:
        known = sorted(LAUNCHERS.values()) if "launcher" in key else ["basic"]
        raise ConfigError(f"{key}._target_={short_repr(name)}: must be that of {', '.join(known)}; choose it "
                      f"as {key.replace('.', '/')}=NAME")  # fmt: skip


def _no_targets(key: str, value: Any) -> None:
    """Refuse what Hydra would call, below the part's own `_target_`."""
    for name, item in _below(value):
        if name.split(".")[-1] in ("_target_", "_partial_", "_args_", "_recursive_", "_convert_"):
            raise _refused(f"{key}.{name}", "nothing in a configuration is called")
        if isinstance(item, str) and "${" in item and item not in WORDS:
            raise ConfigError(f"{key}.{name}={short_repr(item)}: must be a plain value")


def _launcher(key: str, part: dict[str, Any], typed: set[str]) -> None:
    """Numbers are free, words must be words, and what may be a command is for people to type."""
    _no_targets(key, part)
    for name, item in _below(part):
        parts, whole = name.split("."), f"{key}.{name}"
        if not isinstance(item, str) or not item or item in WORDS:
            continue
        if TYPED & set(parts):
            if not any(f"{whole}.".startswith(f"{own}.") for own in typed):
                raise _refused(whole, "it can run commands: give it on the command line")
            continue
        if not WORD.fullmatch(item) or ".." in item:
            raise ConfigError(f"{whole}={short_repr(item)}: must be a plain word")
        if parts[-1] == "pre_dispatch" and not re.fullmatch(r"all|\d+|(\d+\*)?n_jobs", item):
            raise ConfigError(f"{whole}={short_repr(item)}: must be all, a number, or like 2*n_jobs")


def _logging(key: str, part: Any) -> None:
    """Allow Hydra's own logging configurations and ours, at any level, and no others."""
    for name, item in _below(part):
        last = name.split(".")[-1]
        fine = {
            "class": item in HANDLERS,
            "stream": item in STREAMS,
            "filename": item == LOG_FILE,
            "format": isinstance(item, str) and "${" not in item,
        }.get(last)
        if fine is None:
            plain = not isinstance(item, str) or WORD.fullmatch(item)
            fine = bool(re.fullmatch(r"\w+", last)) and bool(plain) and "://" not in str(item)
        if not fine:
            raise ConfigError(f"{key}.{name}={short_repr(item)}: not for a configuration to set; "
                          f"choose {key.replace('.', '/')}=console, default, stdout, none or "
                          "disabled")  # fmt: skip


def _below(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf below a container with its dotted path; the top's own `_target_` is left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value or ())
    for key, item in items:
        name = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict | list) and item:
            yield from _below(item, name)
        elif name != "_target_":
            yield name, item


def check_repeats(container: Any) -> None:
    """Refuse values that repeat others that repeat others …: 40 lines could fill any memory."""
    counts = [json.dumps(value, default=str).count("${") for _, value in _below(container)]
    if sum(count for count in counts if count > 1) > MAX_REPEATS:
        raise ConfigError("this configuration holds too many ${…} side by side; write values out")


def _environment(name: str, *default: Any) -> Any:
    """`${oc.env:NAME}` for the names that a configuration may read."""
    if not any(fnmatch.fnmatchcase(name, pattern) for pattern in READABLE):
        raise ConfigError(
            f"the environment variable {short_repr(name)} is not for a configuration to read (allowed: "
            f"{', '.join(READABLE)}); write the value itself"
        )
    if name not in os.environ and not default:
        raise ConfigError(f"the environment variable {name} is not set; export it, or give a default: "
                      f"${{oc.env:{name},DEFAULT}}")  # fmt: skip
    return oc.env(name, *default)


def limit_environment() -> None:
    """Let configurations read the allowed environment variables alone."""
    OmegaConf.register_new_resolver("oc.env", _environment, replace=True)
