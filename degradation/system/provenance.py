"""What a result rests on beside its settings: commit, versions, machine, time."""

import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path

from degradation.system.paths import TOP

PACKAGES = ("torch", "numpy", "hydra-core", "scikit-learn", "pillow")


def commit() -> str:
    """The checkout's commit, with `+` where files differ from it; without one, the version."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return f"version {importlib.metadata.version('degradation')}"


def _git(*words: str) -> str:
    if not (TOP / ".git").exists():
        raise OSError("not a checkout")
    command = ["git", "-C", str(TOP), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """The versions of Python and of the installed ones of PACKAGES."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def now() -> str:
    """The time in UTC, to the second, as files have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
