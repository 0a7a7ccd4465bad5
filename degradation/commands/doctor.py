"""Check whether this machine is ready to train, a line a check; nothing is changed.

    degradation doctor
    degradation doctor data=digits numerics=fast machine.runs=DIR

The settings are those of the run that you mean to train. On a GPU a captured training step is
compared with a launched one. Exit status: 0; 1 where a check failed; 2 where a setting is refused.
"""

import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.commands import probe
from degradation.config import compose
from degradation.config.schema import Machine, Settings
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.launch import gpus
from degradation.system import console, files
from degradation.system.provenance import versions
from degradation.tracking import wandb_api

OK, WARN, FAIL = "ok", "warn", "fail"
BATCH_SIZE = 8  # of the step that is tried
TIMEOUT = 600.0  # seconds: with numerics=fast it compiles first


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: str
    check: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; remedy: {self.remedy}" if self.remedy else ""
        return f"{self.state:5} {self.check:9} {self.message}{remedy}"


def main(arguments: list[str]) -> int:
    """Print the findings as they come; 1 where one failed. Raises ConfigError."""
    parser = console.parser("doctor", __doc__, "degradation doctor [KEY=VALUE] …")
    _, rest = parser.parse_known_args(arguments)
    settings = compose.runs_of(rest)[0]
    failed = 0
    for finding in findings(settings):
        console.print_line(console.escape_control_chars(str(finding)))
        failed += finding.state == FAIL
    console.print_line(f"{failed} failed" if failed else "ready")
    return 1 if failed else 0


def findings(settings: Settings) -> Iterator[Finding]:
    """What every check finds, in turn."""
    yield Finding(OK, "packages", ", ".join(f"{k} {v}" for k, v in versions().items()))
    yield from device(settings)
    yield images(settings)
    yield folder(Path(settings.machine.runs).expanduser())
    yield wandb(settings)


def device(settings: Settings) -> Iterator[Finding]:
    """The device, a few training steps on it, and whether the GPUs' presets can be used."""
    question = probe.request(settings, BATCH_SIZE, settings.config.numerics.compiled)
    try:
        answer = probe.ask("check", question, settings.machine.threads, TIMEOUT)
    except (probe.ProbeError, subprocess.TimeoutExpired) as error:
        yield Finding(FAIL, "device", str(error))
        return
    yield from _gpu(answer) if answer["memory"] is not None else _cpu(answer, settings.machine)


def _gpu(answer: dict[str, Any]) -> Iterator[Finding]:
    what = f"{answer['device']}: {answer['name']}, CUDA {answer['cuda']}"
    size = f"capability {answer['capability']}, {answer['memory'] / 1e9:.1f} GB"
    yield Finding(OK, "device", f"{what}, {size}")
    if difference := answer["difference"]:
        differs = f"differs from the launched one by {difference:.1e}"
        message = f"a step captured as a CUDA graph {differs}"
        yield Finding(FAIL, "step", message, "numerics.graph=off")
    else:
        message = "a step captured as a CUDA graph equals the launched one, bit by bit"
        yield Finding(OK, "step", message)
    if lacking := " and ".join(name for name in ("bf16", "triton") if not answer[name]):
        yield Finding(WARN, "fast", f"without {lacking}", "numerics=reference")
    else:
        yield Finding(OK, "fast", "numerics=fast and =fused can be used: bfloat16, Triton")


def _cpu(answer: dict[str, Any], machine: Machine) -> Iterator[Finding]:
    cores, threads = len(os.sched_getaffinity(0)), machine.threads
    if count := len(gpus.usable(machine)):
        message = f"{count} GPUs are here, and torch {answer['torch']} uses none of them"
        yield Finding(WARN, "device", message, "install a torch for this driver (nvidia-smi)")
    else:
        state, remedy = (WARN, f"machine.threads={cores}") if threads > cores else (OK, "")
        message = f"cpu: {cores} cores, threads of a run: {threads}"
        yield Finding(state, "device", message, remedy)
    yield Finding(OK, "step", "trained; there is no CUDA graph on a CPU")
    message = "numerics=fast and =fused are for GPUs; on a CPU numerics=native is faster"
    yield Finding(OK, "fast", message)


def images(settings: Settings) -> Finding:
    """The data set, found and verified; nothing is downloaded."""
    data = settings.config.data
    root = Path(data.root).expanduser().absolute()
    if data.download and sources.missing(dataclasses.replace(data, download=False)):
        remedy = "the first run downloads it; or data.root=DIR"
        return Finding(WARN, "data", f"{data.name} is not in {root} yet", remedy)
    try:
        dataset = sources.load(dataclasses.replace(data, download=False))
    except DataError as error:
        remedy = "data.root=DIR, or data=digits, which is built in"
        return Finding(FAIL, "data", str(error).splitlines()[0].rstrip("."), remedy)
    counts = f"{len(dataset.train):,} + {len(dataset.test):,} images"
    return Finding(OK, "data", f"{data.name}: {counts}, verified, digest {dataset.digest[:12]}")


def folder(runs: Path) -> Finding:
    """Whether files can be written and locked in `runs`, or in the nearest folder that is there."""
    existing = next(path for path in [runs.absolute(), *runs.absolute().parents] if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=existing, prefix=".doctor-") as own:
            files.write_json(Path(own) / "file", {})
            with files.lock(Path(own) / "lock"):
                locks = files.is_locked(Path(own) / "lock")
    except OSError as error:
        message = f"{existing}: {error.strerror or error}"
        return Finding(FAIL, "runs", message, "let this user write there, or machine.runs=OTHER")
    if not locks:
        remedy = "mount the file system with locks, or machine.runs=OTHER"
        return Finding(FAIL, "runs", f"{existing}: a lock keeps no other process out", remedy)
    free = files.free(existing)
    message = f"{existing} can be written to and locked, {free / 1e9:,.1f} GB free"
    return Finding(OK, "runs", f"{message}; `degradation plan` counts what a study needs")


def wandb(settings: Settings) -> Finding:
    """Whether W&B gets the rows; whether there is a key, never the key."""
    mode = settings.machine.wandb
    if mode == "disabled":
        return Finding(OK, "wandb", "disabled")
    try:
        online = wandb_api.online(mode)
        if online and not wandb_api.has_key():
            return Finding(FAIL, "wandb", "online, without a key", "wandb login")
    except Exception as error:  # whatever a broken installation raises
        return Finding(WARN, "wandb", str(error), "machine.wandb=disabled trains without it")
    how = "online, a key is configured" if online else "offline; `wandb login` sends rows to W&B"
    return Finding(OK, "wandb", how)
