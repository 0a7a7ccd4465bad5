"""Is this machine ready? One line a check, each with its remedy; nothing is changed.

    degradation doctor [machine.runs=DIR] [data.root=DIR] [data=…] …

Settings are those of `run`. Exit status: 0, 1 where a check failed, 2 refused.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from degradation.config import schema, study, validation
from degradation.config.schema import Settings
from degradation.launch import gpus, process
from degradation.system import files
from degradation.system.provenance import versions

OK, WARN, FAIL = "ok", "warn", "fail"
ROOM = 10 * 10**9  # bytes, of a study of CIFAR-10
LAUNCHERS = {"joblib": "hydra_joblib_launcher", "slurm": "hydra_submitit_launcher",
             "ray": "hydra_ray_launcher"}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: str
    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.state:5} {self.what:14} {self.found}" + (
            f"; {self.remedy}" if self.remedy else ""
        )


def findings(settings: Settings) -> Iterator[Finding]:
    """Every check's, in turn."""
    yield packages()
    if settings.config.numerics.native:
        yield compiler()
    yield device(settings)
    yield threads(settings)
    yield images(settings)
    runs = Path(settings.machine.runs).expanduser()
    yield from folder(runs)
    yield wandb(settings)
    yield from map(launcher, LAUNCHERS)


def packages() -> Finding:
    """Everything that this package requires, at a version that it accepts."""
    from packaging.requirements import Requirement

    wrong = []
    try:
        requires = importlib.metadata.requires("degradation") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding(WARN, "packages", "degradation isn't installed",
                       "pip install -e . in the checkout")  # fmt: skip
    for requirement in map(Requirement, requires):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version}, needs {requirement.specifier}")
    if wrong:
        return Finding(FAIL, "packages", ", ".join(wrong), "pip install -U degradation")
    return Finding(OK, "packages", ", ".join(f"{k} {v}" for k, v in versions().items()))


def compiler() -> Finding:
    """Whether numerics.native can be built, and by what."""
    code = (
        "import json; from degradation import schema; from degradation.models.kernels import library\n"
        "try: library.load(); print(json.dumps(['', library.versions()['compiler']]))\n"
        "except schema.ConfigError as error: print(json.dumps([str(error).splitlines()[0], '']))"
    )
    done = _python(code)
    error, found = json.loads(done.stdout) if not done.returncode else (done.stderr, "")
    return Finding(FAIL, "compiler", error) if error else Finding(OK, "compiler", found)


def device(settings: Settings) -> Finding:
    """What torch finds, asked in a process of its own: importing it takes seconds and memory."""
    code = (
        "import json, sys, torch; from degradation import machine, schema\n"
        "try: found = str(machine.device(sys.argv[1])), ''\n"
        "except schema.ConfigError as error: found = '', str(error)\n"
        "count = torch.cuda.device_count() if torch.cuda.is_available() else 0\n"
        "names = [torch.cuda.get_device_name(i) for i in range(count)]\n"
        "print(json.dumps([*found, names, torch.version.cuda]))"
    )
    done = _python(code, settings.machine.device)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        return Finding(FAIL, "device", f"torch does not start: {last}", "reinstall torch")
    chosen, error, names, cuda = json.loads(done.stdout.splitlines()[-1])
    if error:
        return Finding(FAIL, "device", error)
    if not names and (count := gpus.visible()):
        why = "torch is a CPU build" if cuda is None else f"torch (CUDA {cuda}) finds none"
        remedy = "install a torch that fits the driver (nvidia-smi tells its version)"
        return Finding(WARN, "device", f"GPUs are there: {count}; but {why}", remedy)
    return Finding(OK, "device", f"{chosen}" + (f": {', '.join(names)}" if names else ""))


def threads(settings: Settings) -> Finding:
    cores, asked = len(os.sched_getaffinity(0)), settings.machine.threads
    found = f"{cores} cores, {asked} thread{'s' if asked > 1 else ''} a run"
    if asked > cores:
        return Finding(WARN, "threads", found, f"say machine.threads={cores} or fewer")
    return Finding(OK, "threads", found)


def images(settings: Settings) -> Finding:
    """The data set, found and verified; nothing is downloaded."""
    name, root = settings.config.data.name, settings.config.data.root
    code = (
        "import json, sys; from degradation import data, schema, spec\n"
        "try: found = data.load(schema.read(spec.Data, json.loads(sys.argv[1])))\n"
        "except data.DataError as error: print(json.dumps(str(error).splitlines()[0]))\n"
        "else: print(json.dumps([len(found.train), len(found.test), found.digest]))"
    )
    asked = schema.plain(settings.config.data) | {"download": False}
    done = _python(code, json.dumps(asked))
    if done.returncode:
        return Finding(FAIL, "data", (done.stderr.strip().splitlines() or ["no word"])[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    if isinstance(found, list):
        train, test, digest = found
        return Finding(OK, "data", f"{name}: {train:,} + {test:,} images, verified, "
                                   f"digest {digest[:12]}")  # fmt: skip
    if "is not there" in found and settings.config.data.download:
        return Finding(WARN, "data", f"{name} is not in {Path(root).absolute()} yet",
                       "the first run downloads it, or say data.root=FOLDER")  # fmt: skip
    return Finding(
        FAIL, "data", found.rstrip("."), "say data.root=FOLDER, or data=digits, which is built in"
    )


def folder(runs: Path) -> Iterator[Finding]:
    """Whether the runs' folder, or the nearest there is, takes files, renames and locks."""
    place = next(p for p in [runs.absolute(), *runs.absolute().parents] if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".doctor-") as trial:
            file = Path(trial) / "file"
            files.write_json(file, {})
            yield Finding(OK, "runs", f"{place} takes files")
            yield _locks(Path(trial) / "lock")
    except OSError as error:
        yield Finding(FAIL, "runs", f"{place}: {error.strerror or error}",
                      "let this user write there, or say machine.runs=OTHER")  # fmt: skip
    free = files.free(place)
    shown = f"{free / 1e9:,.1f} GB free in {place}"
    if free < ROOM:
        yield Finding(
            WARN, "disk", shown, "a study may need more: degradation.commands.plan counts it"
        )
    else:
        yield Finding(OK, "disk", shown)


def _locks(path: Path) -> Finding:
    """Whether a second process sees a lock: on some network file systems none does."""
    code = "import sys, pathlib; from degradation import storage\n" \
           "print(storage.is_locked(pathlib.Path(sys.argv[1])))"  # fmt: skip
    try:
        with files.lock(path):
            done = _python(code, str(path))
    except files.StorageError as error:
        return Finding(FAIL, "locks", str(error))
    if done.stdout.strip() != "True":
        return Finding(FAIL, "locks", "another process doesn't see a lock there",
                       "mount the file system with locks, or say machine.runs=OTHER")  # fmt: skip
    return Finding(OK, "locks", "hold between processes")


def wandb(settings: Settings) -> Finding:
    """What the mirror would do; whether there is a key, never the key."""
    mode: str = settings.machine.wandb
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE", "auto")
    if mode in ("offline", "disabled"):
        return Finding(OK, "wandb", mode)
    code = "from degradation import remote; print(remote.has_key(), remote.library().__version__)"
    done = _python(code, environment=dict(os.environ))  # training's has no key
    key, _, version = (done.stdout.strip().splitlines() or [""])[-1].partition(" ")
    if done.returncode or key not in ("True", "False"):
        return Finding(WARN, "wandb", "does not start", "machine.wandb=disabled trains without")
    if key == "True":
        return Finding(OK, "wandb", f"{version}: online, a key is configured")
    if mode == "online":
        return Finding(FAIL, "wandb", f"{version}: machine.wandb=online, and no key",
                       "wandb login, or machine.wandb=offline")  # fmt: skip
    return Finding(OK, "wandb", f"{version}: offline, as no key is configured (wandb login)")


def launcher(extra: str) -> Finding:
    """Whether cluster=NAME has what it needs."""
    what = f"cluster={extra}"
    if importlib.util.find_spec(f"hydra_plugins.{LAUNCHERS[extra]}") is None:
        return Finding(OK, what, f"not installed (pip install 'degradation[{extra}]')")
    if extra == "slurm" and shutil.which("sbatch") is None:
        return Finding(OK, what, "installed; no sbatch here: not a node that submits")
    return Finding(OK, what, "installed")


def _python(
    code: str, *arguments: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A process of its own, with what one that trains finds in its environment."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, env=environment or process.environment(1),
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print the findings as they come; 1 where one failed."""
    if {"-h", "--help"} & {*arguments}:
        print(__doc__)
        return 0
    try:
        settings = study.settings(study.Line.read(arguments))[0]
    except validation.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    failed = 0
    for finding in findings(settings):
        print(finding, flush=True)
        failed += finding.state == FAIL
    print(f"{failed} failed" if failed else "ready")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
