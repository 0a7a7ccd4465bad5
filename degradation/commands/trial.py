"""A few iterations of some points on this device, on images of noise: seconds and memory.

    python -m degradation.commands.trial POINTS_JSON MACHINE_JSON

The process that `plan` starts. It prints a line of JSON: the device, when it was ready to begin,
and one object a run; nothing is written to the disk.
"""

import dataclasses
import json
import resource
import sys
import time
from typing import Any

import torch

from degradation.commands import estimate
from degradation.commands.estimate import SHAPES
from degradation.config import schema, validation
from degradation.config.schema import RunConfig
from degradation.data.device_loader import DeviceEvalLoader
from degradation.training.devices import device as machine
from degradation.training.devices import interleave
from degradation.training.synthetic_run import Ours, synthetic, tensors_of

SECONDS = 1.5  # of iterations, at least
PICTURES = 2000


def main(arguments: list[str]) -> int:
    configs = [validation.read(RunConfig, one) for one in json.loads(arguments[0])]
    settings = validation.read(schema.Machine, json.loads(arguments[1]), "machine")
    imported = time.time()
    device = machine.apply(settings, configs[0].numerics)
    gpu = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory if gpu else None
    name = torch.cuda.get_device_name(device) if gpu else "a CPU core"
    began, began_process = time.monotonic(), time.process_time()
    trials = [_tried(config, settings, device) for config in configs]
    shared = time.monotonic() - began, time.process_time() - began_process
    busy = 1.0 if gpu or settings.threads > 1 else max(1.0, shared[0] / shared[1])
    found = {"device": name, "memory": memory, "imported": imported, "trials": trials, "busy": busy}
    print(json.dumps(found))
    return 0


def _tried(config: RunConfig, settings: schema.Machine, device: torch.device) -> dict[str, Any]:
    """A Trial's fields; `first` is the time from nothing to the end of the first iteration."""
    gpu = device.type == "cuda"
    began = time.monotonic()
    machine.apply(settings, config.numerics)
    shape = SHAPES[config.data.name]
    images = synthetic(PICTURES, shape.side, shape.channels)
    share = interleave.share(settings.runs_per_gpu, config.depth, gpu)
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    ours = [
        Ours(dataclasses.replace(config, seed=seed), images, device)
        for seed in range(max(1, int(1 / share + 1e-9)))
    ]
    first = (time.monotonic() - began) / len(ours)
    count = 1
    while (took := _iterations(ours, count, device)) < SECONDS and count < 4096:
        count *= 2
    image = _exam(ours[0], images, device)
    if gpu:
        memory = torch.cuda.max_memory_reserved(device) / len(ours)
    else:
        memory = RESIDENT + tensors_of(config, shape.side, shape.channels)
    trial = estimate.Trial(config.depth, took / count / len(ours), image, memory)
    return {"kind": estimate.kind(config), "first": first, **dataclasses.asdict(trial)}


RESIDENT = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # of torch and ourselves


def _iterations(ours: list[Ours], count: int, device: torch.device) -> float:
    """Seconds of `count` iterations of each, by turns."""
    _wait(device)
    began = time.monotonic()
    interleave.take_turns([(one.turns(count), 1 / len(ours)) for one in ours])
    _wait(device)
    return time.monotonic() - began


def _exam(one: Ours, images: Any, device: torch.device) -> float:
    """Seconds of a image in eval mode."""
    count = 200 if device.type == "cpu" else 1000
    few = dataclasses.replace(images, test=images.test.part(0, count))
    exam = DeviceEvalLoader(few, "test", device)
    took = 0.0
    for _ in range(2):  # the first one may have to be recorded
        _wait(device)
        began = time.monotonic()
        one.engine.examine("test", exam, lambda: None)
        took = time.monotonic() - began
    return took / len(exam)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
