"""The pair that is trained: the paper's ResNet-20 shape and its plain twin, on built-in data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.config import schema, validation
from degradation.runs.run_dir import RunDir
from degradation.training import checkpoint

ARMS = {"plain": "none", "residual": "identity"}


def config(arm: str = "residual", *, full: bool = True, **changes: Any) -> schema.RunConfig:
    """A run of seconds (`full`), or of a moment; `changes` by dotted key with `__` for the dot.

    A row every 5 iterations, and a drop, so that there is a clean error in the middle, too.
    """
    mapping: dict[str, Any] = {
        "model": {"shortcut": ARMS[arm], "shortcut_padding": "back", "width": 16 if full else 4},
        "data": {
            "name": "digits",
            "val_size": 0,
            "pad": 1,
            "flip": False,
            "root": "data",
            "download": False,
        },
        "recipe": {
            "iterations": 40 if full else 12,
            "batch_size": 32 if full else 16,
            "lr": 0.05,
            "milestones": [22] if full else [6],
            "gamma": 0.1,
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 1e-4,
            "weight_decay_on_norm": True,
            "init": "fan_in",
            "warmup_min_depth": 8,
            "warmup_lr": 0.005,
            "warmup_error": 80,
            "warmup_window": 2,
            "eval_every": 5 if full else 4,
        },
        "numerics": {"precision": "fp32", "memory_format": "channels_last", "deterministic": True},
        "depth": 20 if full else 8,
        "seed": 0,
    }
    for key, value in changes.items():
        group, _, field = key.rpartition("__")
        (mapping[group] if group else mapping)[field] = value
    return validation.read(schema.RunConfig, mapping)


def machine(runs: Path, **changes: Any) -> schema.Machine:
    """One thread of the CPU, no W&B."""
    settings = {
        "device": "cpu",
        "threads": 1,
        "runs": str(runs),
        "progress": "none",
        "resume": "exact",
        "wandb": "disabled",
        "wandb_project": "soak",
        "wandb_entity": None,
    }
    return validation.read(schema.Machine, settings | changes)


def made(runs: Path, config: schema.RunConfig) -> RunDir:
    """The run's folder below `runs`, made."""
    run = RunDir.of(config, runs)
    run.create(config)
    return run


@dataclass(frozen=True)
class Ending:
    """All that must be equal in the end: the rows, and the last checkpoint by its digest."""

    curves: bytes
    checkpoint: str
    exact: bool

    @classmethod
    def of(cls, run: RunDir) -> "Ending | None":
        """None where there is no result yet."""
        result = run.result()
        if result is None:
            return None
        curves = run.curves.read_bytes() if run.curves.exists() else b""
        saved = checkpoint.saved(run.checkpoints)
        if not saved:  # a net that diverged early
            return cls(curves, "", bool(result["exact"]))
        whole = checkpoint.newest(run.checkpoints) == saved[-1].read_bytes()
        return cls(curves, saved[-1].name, bool(result["exact"]) and whole)
