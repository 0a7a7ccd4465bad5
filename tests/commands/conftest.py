"""Commands as people type them: in a folder of their own, without an account, a key or a cache."""

import os
import subprocess
import sys
from pathlib import Path

MODULE = "degradation.run"


def environment(folder: Path, *drop: str) -> dict[str, str]:
    """Without W&B's variables and those that begin with `drop`; programs keep in `folder` what they
    would keep in the home folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", *drop))}
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), f"{folder}/home")
    return kept | homes | {"NETRC": f"{folder}/netrc"}


def start(folder: Path, *words: str, module: str = MODULE, **more: str) -> "subprocess.Popen[str]":
    """`python -m module words` in `folder`; `more`: variables of its environment."""
    command, own = [sys.executable, "-m", module, *words], environment(folder) | more
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, env=own, **pipes)


def call(folder: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    process = start(folder, *words, **more)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
