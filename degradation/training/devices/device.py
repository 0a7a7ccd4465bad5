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

from degradation.config.schema import Machine, Numerics, RunConfig
from degradation.config.validation import ConfigError
from degradation.data.image_folder import decode
from degradation.models.kernels import gpu, library
from degradation.system import process_group


def resolve(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or cuda:N; a GPU always with its number, which
    torch.cuda.set_device needs. Raises ConfigError, naming what there is."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = f"cuda:{process_group.local_rank() % count}" if count else "cpu"
    wanted = torch.device("cuda:0" if name == "cuda" else name)
    if wanted.type == "cuda" and wanted.index >= count:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        raise ConfigError(f"machine.device={name}: not found; this machine has {there}")
    return wanted


def apply(machine: Machine, numerics: Numerics) -> torch.device:
    """Set torch, process-wide, to what `numerics` and `machine` ask for; the device to use."""
    device = resolve(machine.device)
    if numerics.native and (device.type != "cpu" or machine.threads > 1):
        raise ConfigError(
            f"numerics.native=true: needs machine.device=cpu (here {device}) and "
            f"machine.threads=1 (here {machine.threads}); or give numerics=reference. "
            "More cores train more runs (cluster=joblib)"
        )
    if numerics.fused and device.type != "cuda":
        raise ConfigError(
            f"numerics.fused=true: its kernels need a CUDA device (here {device}); give "
            "machine.device=cuda, or numerics=reference"
        )
    torch.set_num_threads(machine.threads)
    # What use_deterministic_algorithms sets, less 1.4 s in which that one imports the compiler,
    # which reads the environment where it is used (see launch).
    torch.set_deterministic_debug_mode("error" if numerics.deterministic else "default")
    # Torch would fill each fresh tensor, so that reading uninitialized memory gives equal bits. No
    # operation of a step reads any: the bits are equal without.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not numerics.deterministic
    torch.backends.cudnn.deterministic = numerics.deterministic
    torch.backends.cuda.matmul.allow_tf32 = numerics.precision != "fp32"
    torch.backends.cudnn.allow_tf32 = numerics.precision != "fp32"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


ARITHMETIC = 4  # raised when a change to our own layers or step changes bits
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "DNNL_MAX_CPU_ISA")
"""Environment variables that limit which instructions libraries use, and so change bits."""


def fingerprint(config: RunConfig, device: torch.device, processes: int = 1) -> dict[str, Any]:
    """Everything beside the run's settings that decides bits, as JSON values."""
    marks: dict[str, Any] = {
        "arithmetic": ARITHMETIC,
        "torch": torch.__version__,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "mkldnn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
    }
    if processes > 1:
        marks["processes"] = processes
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        marks |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        }
    if config.data.name == "imagenet":
        marks |= decode.versions()
    if config.numerics.native:
        marks |= library.versions()
    if config.numerics.fused:
        marks |= gpu.versions()
    return marks
