"""What a run is: one training run to be, its identity, its name, its other arm.

A run's folder is `<data>-<arm>-<depth>-s<seed>-<hash>`. The hash covers every field that changes
the result; `identity=False` marks those that don't. A field without a default is always hashed; one
that is added later must have a default (older runs lack it) and is hashed where it differs from it,
so that older runs keep their names. `tests/test_spec.py` pins the hashes.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from degradation.config import architecture
from degradation.config.validation import (
    ConfigError,
    choice,
    free,
    number,
    place,
    text,
)
from degradation.system.console import short_repr

ARMS = ("plain", "residual")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
NAME_SAYS = "1 to 64 of A-Z a-z 0-9 . _ -"
FORMAT = 2  # of identities: raise it when a field's meaning changes, and no old run is met again


@dataclass(frozen=True)
class Model:
    """The arm. Plain and residual differ in `shortcut` alone."""

    shortcut: str = choice("none", "identity", "projection", "projection_all")
    """none: plain; identity: option A; projection: B; projection_all: C (Sec. 4.1)."""
    shortcut_padding: str = choice("back", "split")
    """Option A's new channels: zeros behind, or half in front and half behind. Not stated."""
    width: int = number(1, 4096)
    """Filters of the first stage, doubled in each later one (16 for CIFAR-10, 64 for ImageNet)."""
    design: str = choice(*architecture.DESIGNS, default="cifar")
    """Which layers there are at a depth (design.py)."""
    stride_in_1x1: bool = free(default=True)
    """The layer of a bottleneck that halves the map: the first, as the authors' networks have it,
    or the second (torchvision)."""
    alpha: float = number(0, 1, default=1.0)
    """What the shortcut is multiplied by before it is added: 0 computes a plain net, bit by bit."""
    alpha_learned: bool = free(default=False)
    """`alpha` is where a parameter of each block starts."""
    norm: bool = free(default=True)
    """Batch normalisation behind each convolution; without it, nothing is there."""
    ghost_batch_size: int | None = number(1, 65_536, default=None)
    """Images that batch normalisation looks at together in training (two GPUs: half a batch);
    null: the whole batch."""

    def __post_init__(self) -> None:
        if self.shortcut == "none":
            for name, value, neutral in (("alpha", self.alpha, 1),
                                         ("alpha_learned", self.alpha_learned, False)):  # fmt: skip
                if value != neutral:
                    raise ConfigError(f"model.{name}={value}: must be {neutral} in a plain net, which "
                                  "has no shortcut to scale; or give model=residual")  # fmt: skip
        if self.ghost_batch_size and not self.norm:
            raise ConfigError(
                f"model.ghost_batch_size={self.ghost_batch_size}: must be null where model.norm=false"
            )

    @property
    def arm(self) -> str:
        return "plain" if self.shortcut == "none" else "residual"


@dataclass(frozen=True)
class Data:
    """The images and what training does to them."""

    name: str = choice("cifar10", "digits", "imagenet")
    val_size: int = number(0, 49_000)
    """Training images kept for validation (Sec. 4.2: 5,000 of 50,000, or none)."""
    pad: int = number(0, 16)
    """Zeros added at each side before the random crop, in pixels."""
    flip: bool = free()
    """Mirror half of the training images."""
    root: str = place()
    """Folder in which the files lie, or will."""
    download: bool = free(identity=False)
    """Fetch what isn't there."""
    crop_size: int | None = number(8, 4096, default=None)
    """Side of the square cut out of each image, in pixels (Sec. 3.4: 224); null: all are of one
    size and `pad` is for the crop. This and the fields below: of a folder of images alone."""
    resize_range: tuple[int, ...] = number(8, 8192, default=())
    """A training image's shorter side is drawn from the first to the second, before the crop."""
    eval_resize: int | None = number(8, 8192, default=None)
    """A test image's shorter side, before the crop in its centre."""
    pca_lighting: bool = free(default=False)
    """Colour noise along the principal components of the training pixels (AlexNet's)."""
    draft: bool = free(default=False)
    """Let the decoder halve a large JPEG while the drawn shorter side is still reached: faster,
    other pixels."""
    skip: str | None = place(default=None)
    """A file that lists images to leave out, one path a line."""

    def __post_init__(self) -> None:
        folder = self.name == "imagenet"
        neutral = {"val_size": 0, "pad": 0} if folder else {
            "crop_size": None, "resize_range": (), "eval_resize": None, "pca_lighting": False, "draft": False, "skip": None
        }  # fmt: skip
        for name, value in neutral.items():
            if getattr(self, name) != value:
                allowed = "null" if value in (None, ()) else str(value).lower()
                raise ConfigError(f"data.{name}={short_repr(getattr(self, name))}: must be {allowed} for "
                              f"data={self.name}")  # fmt: skip
        if folder:
            self._check_sides()

    def _check_sides(self) -> None:
        if (
            self.crop_size is None
            or self.eval_resize is None
            or not self.crop_size <= self.eval_resize
        ):
            raise ConfigError(f"data.crop_size={self.crop_size}, data.eval_resize={self.eval_resize}: both must be given, "
                          "and the crop fit into the resized image")  # fmt: skip
        if (
            len(self.resize_range) != 2
            or not self.crop_size <= self.resize_range[0] <= self.resize_range[1]
        ):
            raise ConfigError(f"data.resize_range={list(self.resize_range)}: must be two shorter sides that rise, "
                          f"from data.crop_size={self.crop_size} on, for example [256,480]")  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and length. Iterations are counted from 0."""

    iterations: int = number(1, 10**8)
    batch_size: int = number(1, 65_536)
    lr: float = number(0, 1e6, open_low=True)
    milestones: tuple[int, ...] = number(1, 10**8)
    """Iterations from which the learning rate is multiplied by `gamma` once more."""
    gamma: float = number(0, 1, open_low=True)
    momentum: float = number(0, 1)
    nesterov: bool = free()
    weight_decay: float = number(0, 1)
    weight_decay_on_norm: bool = free()
    """Weight decay on the scale and shift of batch normalisation, too."""
    init: str = choice("fan_in", "fan_out", "orthogonal", "delta_orthogonal")
    """He's initialisation by its fan; or an orthogonal matrix times √2, over all taps of a kernel
    or in its centre alone (Xiao et al. 2018)."""
    warmup_min_depth: int | None = number(8, 10**6)
    """The least depth that warms up; null: none does."""
    warmup_lr: float = number(0, 1e6, open_low=True)
    warmup_error: float = number(0, 100, open_low=True)
    """Warm-up ends when the training error is below this, in percent."""
    warmup_window: int = number(1, 10**6)
    """Iterations over which that error is averaged, and between two looks at it."""
    eval_every: int = number(1, 10**8)
    """Iterations between two rows."""
    plateau_patience: int | None = number(1, 10**6, default=None)
    """Rows without progress behind which the learning rate drops ("divided by 10 when the error
    plateaus", Sec. 3.4), again and again; null: `milestones` say when."""
    plateau_threshold: float = number(0, 100, default=0.1)
    """Progress: a row's training error is this much below the least so far, in percent points."""
    optimizer: str = choice("sgd", "adamw", default="sgd")
    identity_init_from: int | None = number(8, 10**6, default=None)
    """Start from this run's finished run of fewer layers, deepened by identities (grow.py)."""
    identity_init_noise: float = number(0, 10, default=0.0)
    """How far the added layers start from identities, in units of He's initialisation."""

    def __post_init__(self) -> None:
        if self.identity_init_noise and self.identity_init_from is None:
            raise ConfigError(f"recipe.identity_init_noise={self.identity_init_noise}: must be 0 without "
                          "recipe.identity_init_from=DEPTH")  # fmt: skip
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(f"recipe.milestones={list(self.milestones)}: must rise")
        if self.milestones and self.plateau_patience is not None:
            raise ConfigError(f"recipe.milestones={list(self.milestones)}: must be [] where recipe.plateau_patience="
                          f"{self.plateau_patience} says when; or give recipe.plateau_patience=null")  # fmt: skip
        if self.milestones and self.milestones[-1] >= self.iterations:
            raise ConfigError(f"recipe.milestones={list(self.milestones)}: must lie before "
                          f"recipe.iterations={self.iterations}")  # fmt: skip

    def row_at(self, iteration: int) -> bool:
        """Whether a row is due once `iteration` iterations are done."""
        return iteration % self.eval_every == 0 or self.clean_at(iteration)

    def next_row(self, iteration: int) -> int:
        """The first iteration count above `iteration` at which a row is due."""
        regular = (iteration // self.eval_every + 1) * self.eval_every
        return min(i for i in (regular, *self.milestones, self.iterations) if i > iteration)

    def clean_at(self, iteration: int) -> bool:
        """Whether that row also measures the clean training error: before each drop, at the end."""
        return iteration in (*self.milestones, self.iterations)


@dataclass(frozen=True)
class Numerics:
    """How the arithmetic is done, as far as it changes bits."""

    precision: str = choice("fp32", "bf16")
    memory_format: str = choice("channels_last", "contiguous")
    deterministic: bool = free()
    compiled: bool = free(default=False)
    """Each block by torch.compile: other kernels, other bits."""
    native: bool = free(default=False)
    """The slow parts of a layer by kernels in C, compiled here (native): other bits. On a CPU."""
    graph: str = choice("auto", "on", "off", identity=False, default="auto")
    """The whole step as one CUDA graph, of the kernels that are else launched one by one: the same
    bits. auto: where there is a GPU."""

    def __post_init__(self) -> None:
        if self.native:
            needed = {"precision": "fp32", "memory_format": "channels_last", "compiled": False}
            for name, value in needed.items():
                if (asked := getattr(self, name)) != value:
                    raise ConfigError(f"numerics.{name}={str(asked).lower()}: must be "
                                  f"{str(value).lower()} where numerics.native=true")  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Where and beside what a run runs: never part of its identity."""

    device: str = text(
        "auto, cpu, cuda or cuda:N", re.compile(r"auto|cpu|cuda(:\d{1,4})?").fullmatch
    )
    threads: int = number(1, 1024)
    runs: str = place()
    """Folder of the run folders."""
    progress: str = choice("auto", "bar", "lines", "none")
    resume: str = choice("exact", "inexact")
    """inexact: go on under other numerics (versions, device, threads), and mark the run."""
    wandb: str = choice("auto", "online", "offline", "disabled")
    wandb_project: str = text(NAME_SAYS, NAME.fullmatch)
    wandb_entity: str | None = text(NAME_SAYS, NAME.fullmatch)
    runs_per_gpu: int | str = free(default="auto")
    """Points that share a device at a time; auto: as many as it takes well (see pool.py)."""
    accumulate: int = number(1, 65_536, default=1)
    """Parts in which a batch is gone through, one after the other, where it doesn't fit whole."""
    log_layers_every: int = number(0, 10**6, default=0)
    """Rows between two looks at signals and gradients layer by layer (layerwise.py); 0: none."""
    workers: int | str = free(default="auto")
    """Processes that decode images for a run (imagenet); 0: its own alone; auto: by cores."""
    tensorboard: bool = free(default=False)
    """Keep event files for TensorBoard in each run's folder, too."""

    def __post_init__(self) -> None:
        if self.workers != "auto" and not (
            isinstance(self.workers, int) and 0 <= self.workers <= 256
        ):
            raise ConfigError(f"machine.workers={short_repr(self.workers)}: must be auto, or a number from 0 "
                          "to 256")  # fmt: skip
        if self.runs_per_gpu != "auto" and not (
            isinstance(self.runs_per_gpu, int) and 1 <= self.runs_per_gpu <= 64
        ):
            raise ConfigError(
                f"machine.runs_per_gpu={short_repr(self.runs_per_gpu)}: must be auto, or a number from 1 to 64"
            )


@dataclass(frozen=True)
class RunConfig:
    """One training run to be."""

    model: Model
    data: Data
    recipe: Recipe
    numerics: Numerics
    depth: int = number(1, 10**6)
    """Weighted layers."""
    seed: int = number(0, 2**31 - 1)

    def __post_init__(self) -> None:
        blocks = architecture.stages(self.model.design, self.depth)
        grown = self.recipe.identity_init_from
        if grown is not None and self.model.design != "cifar":
            raise ConfigError(f"recipe.identity_init_from={grown}: needs model.design=cifar")
        if grown is not None and architecture.blocks_per_stage(grown) >= blocks[0]:
            raise ConfigError(
                f"recipe.identity_init_from={grown}: must be below depth={self.depth}"
            )

    @property
    def arm(self) -> str:
        return self.model.arm

    @cached_property
    def hash(self) -> str:
        """Eight hex digits of the SHA-256 of all that changes the result."""
        return self._key()

    @property
    def label(self) -> str:
        """The readable part of the name."""
        return f"{self.data.name}-{self.arm}-{self.depth}-s{self.seed}"

    @property
    def name(self) -> str:
        """The run folder's name."""
        return f"{self.label}-{self.hash}"

    def with_shortcut(self, shortcut: str) -> "RunConfig":
        """The run that differs from this one in the shortcut alone."""
        model = dataclasses.replace(self.model, shortcut=shortcut)
        return dataclasses.replace(self, model=model)

    @property
    def pair(self) -> str:
        """A key that two points share exactly when they differ at most in the shortcut."""
        return self._key(shortcut="none")

    @property
    def protocol(self) -> str:
        """A key of all that a study holds fixed: everything but shortcut, depth and seed."""
        return self._key(shortcut="none", depth=20, seed=0)

    def _key(self, shortcut: str | None = None, **held: int) -> str:
        """The digest of the identity, with some of its fields held at a value."""
        found = {"format": FORMAT, **identity(self), **held}
        if shortcut is not None:
            found["model"] = found["model"] | {"shortcut": shortcut}
        return hashlib.sha256(_canonical(found)).hexdigest()[:8]


@dataclass(frozen=True)
class Settings:
    """All that a command line sets: a run, the machine it runs on, the study it belongs to."""

    model: Model
    data: Data
    recipe: Recipe
    numerics: Numerics
    machine: Machine
    depth: int = number(1, 10**6)
    seed: int = number(0, 2**31 - 1)
    study: str = text(NAME_SAYS, NAME.fullmatch)

    def __post_init__(self) -> None:
        _ = self.config  # a run that can't be is refused here

    @cached_property
    def config(self) -> RunConfig:
        return RunConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(RunConfig)})


def plain(value: Any) -> Any:
    """`value` as what JSON can say: dataclasses become dicts, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def identity(value: Any) -> dict[str, Any]:
    """The part of a dataclass that decides the result, as nested dicts (see the module's head)."""
    kept = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if not field.metadata.get("identity", True) or item == field.default:
            continue
        kept[field.name] = identity(item) if dataclasses.is_dataclass(item) else plain(item)
    return kept


def difference(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> list[str]:
    """`key: a → b` for each leaf in which two nested dicts differ."""
    lines = []
    for key in sorted({*a, *b}):
        one, other, name = a.get(key), b.get(key), f"{path}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += difference(one, other, f"{name}.")
        elif one != other:
            lines.append(f"{name}: {one} → {other}")
    return lines


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
