"""The device a run runs on, torch set to its numerics, and the fingerprint of all that counts.

Two processes give equal bits where their fingerprints are equal; a resume under another one is
refused (or asked for with machine.resume=inexact, and marked), since a plain net amplifies the last
bit of a loss into another curve within a few iterations.
"""

import os
import platform
from typing import Any

import torch
import torch.utils.deterministic

from degradation.config.schema import Machine, Numerics
from degradation.config.validation import ConfigError
from degradation.system import process_group


def device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or cuda:N. Raises ConfigError, naming what there is."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        own = f"cuda:{process_group.local_rank() % found}" if found > 1 else "cuda"
        name = (own if process_group.rank_and_world_size()[1] > 1 else "cuda") if found else "cpu"
    wanted = torch.device(name)
    if wanted.type == "cuda" and (wanted.index or 0) >= found:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(found))])
        raise ConfigError(f"machine.device={name}: not found; this machine has {there}")
    return wanted


def apply(machine: Machine, numerics: Numerics) -> torch.device:
    """Set torch, process-wide, to what `numerics` and `machine` ask for; the device to use."""
    chosen = device(machine.device)
    if numerics.native and (chosen.type != "cpu" or machine.threads > 1):
        raise ConfigError(f"numerics.native=true: needs machine.device=cpu (here {chosen}) and "
                      f"machine.threads=1 (here {machine.threads}); or say numerics=reference. "
                      "More cores train more points (cluster=joblib)")  # fmt: skip
    torch.set_num_threads(machine.threads)
    # What use_deterministic_algorithms sets, less 1.4 s in which that one imports the compiler:
    # which is told by its environment, where it is wanted (launch.environment).
    torch.set_deterministic_debug_mode("error" if numerics.deterministic else "default")
    # Every fresh tensor would be filled, so that a read of uninitialised memory repeats itself.
    # No operation of a step reads any: the bits are equal without, and a step is 8 % faster.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not numerics.deterministic
    torch.backends.cudnn.deterministic = numerics.deterministic
    torch.backends.cuda.matmul.allow_tf32 = numerics.precision != "fp32"
    torch.backends.cudnn.allow_tf32 = numerics.precision != "fp32"
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return chosen


ARITHMETIC = 3  # raised when a change to our own layers or step changes bits


def fingerprint(chosen: torch.device, processes: int = 1, parts: int = 1) -> dict[str, Any]:
    """Everything beside the run that decides bits, as JSON values."""
    marks: dict[str, Any] = {
        "arithmetic": ARITHMETIC,
        "torch": torch.__version__,
        "device": chosen.type,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "mkldnn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        "limits": {k: v for k in _LIMITS if (v := os.environ.get(k)) is not None},
    }
    shares = {"processes": processes, "parts": parts}  # of a batch
    marks |= {name: count for name, count in shares.items() if count > 1}
    if chosen.type == "cuda":
        properties = torch.cuda.get_device_properties(chosen)
        marks |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        }
    return marks


_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "DNNL_MAX_CPU_ISA")
