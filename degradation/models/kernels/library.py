"""The kernels, compiled by this machine's C compiler for its processor, as functions."""

import ctypes
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from degradation.config.validation import ConfigError

SOURCES = sorted(Path(__file__).parent.glob("*.c"))
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC")
POINTER, LONG, DOUBLE = ctypes.c_void_p, ctypes.c_long, ctypes.c_double
ARGUMENTS: dict[str, list[type[Any]]] = {
    "scratch_size": [LONG] * 6,
    "weight_gradient": [POINTER] * 4 + [LONG] * 7,
    "rectified": [POINTER] * 9 + [LONG] * 2 + [DOUBLE] * 2,
    "rectified_backward": [POINTER] * 11 + [LONG] * 2,
}


@cache
def load() -> ctypes.CDLL:
    """The library: a fifth of a second, once a process. Raises ConfigError where none can be built.

    Built anew in each process, so none finds one that was built for another processor.
    """
    # An x86 compiler assumes an old processor unless told otherwise.
    march = ["-march=native"] if platform.machine() in ("x86_64", "AMD64") else []
    with tempfile.TemporaryDirectory(prefix="degradation-") as folder:
        built = Path(folder) / "native.so"
        _run([*compiler(), *FLAGS, *march, *map(str, SOURCES), "-o", str(built), "-lm"])
        try:
            found = ctypes.CDLL(str(built))
        except OSError as error:
            remedy = "give TMPDIR=FOLDER, on a disk that may hold programs"
            raise _refused(str(error), remedy) from error
    for name, types in ARGUMENTS.items():
        getattr(found, name).argtypes, getattr(found, name).restype = types, None
    found.scratch_size.restype = LONG
    return found


def versions() -> dict[str, Any]:
    """What compiles, for a fingerprint. Raises ConfigError where nothing does."""
    return {"compiler": _run([*compiler(), "--version"]).splitlines()[0]}


def compiler() -> list[str]:
    """The C compiler: $CC, or the first of cc, gcc and clang. Raises ConfigError without one."""
    if words := shlex.split(os.environ.get("CC", "")):
        return words
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    raise _refused(
        "needs a C compiler, and finds no cc, gcc or clang",
        "install one (Debian: apt install gcc libc6-dev), name it in CC",
    )


def _run(command: list[str]) -> str:
    """What a compiler's command prints. Raises ConfigError with its words where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        remedy = "name a C compiler in CC"
        raise _refused(f"{command[0]}: {error.strerror}", remedy) from error
    if done.returncode:
        words = f"{shlex.join(command)} failed:\n{done.stderr.strip()}\n"
        raise _refused(words, "name another C compiler in CC")
    return done.stdout


def _refused(why: str, remedy: str) -> ConfigError:
    return ConfigError(f"numerics.native=true: {why}; {remedy}, or give numerics=reference")
