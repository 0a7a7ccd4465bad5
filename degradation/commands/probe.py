"""Ask a process of its own what this device can do, so that commands need not import torch."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from degradation.commands import estimate
from degradation.config.schema import Settings
from degradation.launch import process

# A core does so many operations in a tenth of a second, and a probe needs several iterations.
CPU_ITERATION_FLOPS = 5e9


@dataclass(frozen=True)
class Speed:
    """What a device reached in training; nothing but `unknown` where it was not measured."""

    name: str = ""
    flops_per_second: float | None = None
    memory: float | None = None
    """Bytes, of a GPU."""
    runs_at_once: dict[str, int] = field(default_factory=dict)
    """How many runs share the device, by their depth."""
    unknown: str = ""
    """Why nothing was measured."""


class ProbeError(RuntimeError):
    """The device could not be tried; the message says why."""


def speed(remaining: Sequence[Settings], timeout: float) -> Speed:
    """Train the cheapest network of `remaining` for at most two seconds on images of noise.

    Raises ProbeError where the device refuses. A machine that does not answer within `timeout`
    seconds is only `unknown`.
    """
    cheapest = min(remaining, key=lambda s: estimate.iteration_flops(s.config))
    batch_size, flops = cheapest.config.recipe.batch_size, estimate.work(cheapest.config).training
    question = request(cheapest, batch_size, compiled=False) | {  # which would take minutes
        "cpu_batch_size": min(batch_size, max(2, int(CPU_ITERATION_FLOPS / flops))),
        "depths": sorted({s.config.depth for s in remaining}),
        "until": time.time() + timeout - 0.5,
    }
    try:
        answer = ask("rate", question, cheapest.machine.threads, timeout)
    except subprocess.TimeoutExpired:
        return Speed(unknown="this machine is too slow or too busy to tell within ten seconds")
    rate = flops * answer["batch_size"] / answer["seconds"]
    return Speed(answer["name"], rate, answer["memory"], answer["runs_at_once"])


def request(settings: Settings, batch_size: int, compiled: bool) -> dict[str, Any]:
    """A network like that of a run, for batches of any size, and the machine to try it on."""
    config = settings.config
    tried = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, ghost_batch_size=None),
        recipe=dataclasses.replace(config.recipe, batch_size=batch_size),
        numerics=dataclasses.replace(config.numerics, compiled=compiled),
    )
    return {
        "config": dataclasses.asdict(tried),
        "machine": dataclasses.asdict(settings.machine),
        "image": estimate.SHAPES[config.data.name][:3],
    }


def ask(what: str, question: dict[str, Any], threads: int, timeout: float) -> dict[str, Any]:
    """What synthetic_run.py answers. Raises ProbeError and subprocess.TimeoutExpired."""
    command = [sys.executable, "-m", "degradation.training.devices.synthetic_run", what]
    done = subprocess.run(
        [*command, json.dumps(question)],
        capture_output=True,
        text=True,
        env=process.environment(threads),
        timeout=timeout,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ProbeError(lines[-1] if lines else f"its process ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
