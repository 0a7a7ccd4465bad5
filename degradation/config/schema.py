"""All settings of a run, typed and frozen: which values they take, and which values go together.

A run's folder is `<data>-<arm>-<depth>-s<seed>-<hash>`. The hash covers every setting that changes
the result (see identity.py).
"""

import dataclasses
import re
from dataclasses import field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, StringConstraints
from pydantic.dataclasses import dataclass

from degradation.config import architecture
from degradation.config.identity import NOT_IDENTITY, digest, identity
from degradation.config.validation import ConfigError, paths
from degradation.system.console import short_repr

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

# The 1×1 convolutions of stride 2 that oneDNN computes; its backward pass writes outside its arrays
# where they have fewer input channels (oneDNN issue 6035, seen with torch 2.13).
LEAST_CHANNELS = 8


def _matching(pattern: str, says: str) -> AfterValidator:
    """Checks for text that matches `pattern`; `says` describes that to people."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {says}")
        return value

    return AfterValidator(check)


def _auto_or(low: int, high: int) -> PlainValidator:
    """Checks for `auto` or a whole number from `low` to `high`."""

    def check(value: Any) -> Any:
        if value != "auto" and not (type(value) is int and low <= value <= high):
            raise ValueError(f"must be auto, or a whole number from {low} to {high}")
        return value

    return PlainValidator(check)


Count = Annotated[int, Field(ge=1, le=10**8)]
Depth = Annotated[int, Field(ge=1, le=10**6)]
Pixels = Annotated[int, Field(ge=8, le=8192)]
Percent = Annotated[float, Field(ge=0, le=100)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
Path = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, _matching(r"[\w.-]{1,64}", "1 to 64 letters, digits, ., _ or -")]


@dataclass(frozen=True, config=STRICT)
class Model:
    """The arm. Plain and residual differ in `shortcut` alone."""

    shortcut: Literal["none", "identity", "projection", "projection_all"]
    """none: plain; identity: option A; projection: B; projection_all: C (Sec. 4.1)."""
    shortcut_padding: Literal["back", "split"]
    """Option A's new channels: zeros behind, or half in front and half behind. Not stated."""
    width: Annotated[int, Field(ge=1, le=4096)]
    """Filters of the first stage, doubled in each later one (16 for CIFAR-10, 64 for ImageNet)."""
    design: Literal["cifar", "bottleneck", "imagenet"] = "cifar"
    """Which layers there are at a depth (architecture.py)."""
    stride_in_1x1: bool = True
    """The layer of a bottleneck that halves the map: the first, as the authors' networks have it,
    or the second (torchvision)."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 1.0
    """What the shortcut is multiplied by before it is added: 0 computes a plain net, bit by bit."""
    norm: bool = True
    """Batch normalization after each convolution; without it, nothing is there."""
    ghost_batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Images over which batch normalization averages in training (two GPUs: half a batch); null:
    the whole batch."""

    def __post_init__(self) -> None:
        if self.shortcut == "none" and self.alpha != 1:
            raise ConfigError(
                f"model.alpha={self.alpha}: must be 1 in a plain net, which has no shortcut to "
                "scale; or give model=residual"
            )
        if self.ghost_batch_size and not self.norm:
            raise ConfigError(
                f"model.ghost_batch_size={self.ghost_batch_size}: must be null where "
                "model.norm=false"
            )

    @property
    def arm(self) -> str:
        return "plain" if self.shortcut == "none" else "residual"


@dataclass(frozen=True, config=STRICT)
class Data:
    """The images and what training does to them."""

    name: Literal["cifar10", "digits", "imagenet"]
    val_size: Annotated[int, Field(ge=0, le=49_000)]
    """Training images kept for validation (Sec. 4.2: 5,000 of 50,000, or none)."""
    pad: Annotated[int, Field(ge=0, le=16)]
    """Zeros added at each side before the random crop, in pixels."""
    flip: bool
    """Mirror half of the training images."""
    root: Path = field(metadata=NOT_IDENTITY)
    """Folder in which the files lie, or will."""
    download: bool = field(metadata=NOT_IDENTITY)
    """Fetch what isn't there."""
    crop_size: Pixels | None = None
    """Side of the square cut out of each image, in pixels (Sec. 3.4: 224); null: all are of one
    size and `pad` is for the crop. This and the fields below: of a folder of images alone."""
    resize_range: tuple[Pixels, ...] = ()
    """A training image's shorter side is drawn from the first to the second, before the crop."""
    eval_resize: Pixels | None = None
    """A test image's shorter side, before the crop in its centre."""
    pca_lighting: bool = False
    """Colour noise along the principal components of the training pixels (AlexNet's)."""
    skip: Path | None = field(default=None, metadata=NOT_IDENTITY)
    """A file that lists images to leave out, one path a line."""

    def __post_init__(self) -> None:
        is_folder = self.name == "imagenet"
        for name in OF_ARRAYS if is_folder else OF_A_FOLDER:
            if value := getattr(self, name):
                raise ConfigError(
                    f"data.{name}={short_repr(value)}: has no meaning for data={self.name}; leave "
                    f"it as conf/data/{self.name}.yaml has it"
                )
        if is_folder:
            self._check_sizes()

    def _check_sizes(self) -> None:
        crop, resized = self.crop_size, self.eval_resize
        if crop is None or resized is None or crop > resized:
            raise ConfigError(
                f"data.crop_size={crop}, data.eval_resize={resized}: both must be given, and the "
                "crop fit into the resized image"
            )
        sides = self.resize_range
        if len(sides) != 2 or not crop <= sides[0] <= sides[1]:
            raise ConfigError(
                f"data.resize_range={list(sides)}: must be two shorter sides that rise, from "
                f"data.crop_size={crop} on, for example [256,480]"
            )


OF_ARRAYS = ("val_size", "pad")
OF_A_FOLDER = ("crop_size", "resize_range", "eval_resize", "pca_lighting", "skip")


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Optimizer, schedule and length. Iterations are counted from 0."""

    iterations: Count
    batch_size: Annotated[int, Field(ge=1, le=65_536)]
    lr: LearningRate
    milestones: tuple[Count, ...]
    """Iterations from which the learning rate is multiplied by `gamma` once more."""
    gamma: Annotated[float, Field(gt=0, le=1)]
    momentum: Annotated[float, Field(ge=0, le=1)]
    nesterov: bool
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    weight_decay_on_norm: bool
    """Weight decay on the scale and shift of batch normalization, too."""
    init: Literal["fan_in", "fan_out", "orthogonal", "delta_orthogonal"]
    """He's initialization by its fan; or an orthogonal matrix times √2, over all taps of a kernel
    or in its centre alone (Xiao et al. 2018)."""
    warmup_min_depth: Depth | None
    """The least depth that warms up; null: none does."""
    warmup_lr: LearningRate
    warmup_error: Annotated[float, Field(gt=0, le=100)]
    """Warm-up ends when the training error is below this, in percent."""
    warmup_window: Count
    """Iterations over which that error is averaged, and after which it is looked at again."""
    eval_every: Count
    """Iterations between two log rows."""
    plateau_patience: Count | None = None
    """Log rows without progress after which the learning rate drops ("divided by 10 when the error
    plateaus", Sec. 3.4), again and again; null: `milestones` say when."""
    plateau_threshold: Percent = 0.1
    """Progress: a row's training error is this many percent points below the least so far."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    identity_init_from: Depth | None = None
    """Start from this run's finished run of fewer layers, deepened by identities
    (models/identity_init.py)."""
    identity_init_noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """How far the added layers start from identities, in units of He's initialization."""

    def __post_init__(self) -> None:
        if self.identity_init_noise and self.identity_init_from is None:
            raise ConfigError(
                f"recipe.identity_init_noise={self.identity_init_noise}: must be 0 without "
                "recipe.identity_init_from=DEPTH"
            )
        given = f"recipe.milestones={list(self.milestones)}"
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError(f"{given}: must rise")
        if self.milestones and self.plateau_patience is not None:
            raise ConfigError(
                f"{given}: must be [] where recipe.plateau_patience={self.plateau_patience} says "
                "when; or give recipe.plateau_patience=null"
            )
        if self.milestones and self.milestones[-1] >= self.iterations:
            raise ConfigError(f"{given}: must lie before recipe.iterations={self.iterations}")

    def row_at(self, iteration: int) -> bool:
        """Whether a row is due once `iteration` iterations are done."""
        return iteration % self.eval_every == 0 or self.evaluates_train_at(iteration)

    def evaluates_train_at(self, iteration: int) -> bool:
        """Whether that row also evaluates the training set: before each drop, and at the end."""
        return iteration in (*self.milestones, self.iterations)


@dataclass(frozen=True, config=STRICT)
class Numerics:
    """How the arithmetic is done, as far as it changes bits."""

    precision: Literal["fp32", "bf16"]
    memory_format: Literal["channels_last", "contiguous"]
    deterministic: bool
    compiled: bool = False
    """Each block by torch.compile: other kernels, other bits."""
    native: bool = False
    """The slow parts of a layer by kernels in C, compiled here: other bits. On a CPU."""
    fused: bool = False
    """Normalization, addition and ReLU as one operation by kernels in Triton, and all weights cast
    at once: other bits. On a GPU."""
    graph: Literal["auto", "on", "off"] = field(default="auto", metadata=NOT_IDENTITY)
    """The whole step as one CUDA graph, of the kernels that are else launched one by one: the same
    bits. auto: where there is a GPU."""

    def __post_init__(self) -> None:
        kernels_need = {"memory_format": "channels_last", "compiled": False}
        if self.native:
            self._require("native", {"precision": "fp32", **kernels_need})
        if self.fused:
            self._require("fused", {**kernels_need, "native": False})

    def _require(self, key: str, needed: dict[str, Any]) -> None:
        for name, value in needed.items():
            if (given := getattr(self, name)) != value:
                raise ConfigError(
                    f"numerics.{name}={str(given).lower()}: must be {str(value).lower()} where "
                    f"numerics.{key}=true"
                )


@dataclass(frozen=True, config=STRICT)
class Machine:
    """Where and beside what a run runs: never part of its identity."""

    device: Annotated[str, _matching(r"auto|cpu|cuda(:\d{1,4})?", "auto, cpu, cuda or cuda:N")]
    threads: Annotated[int, Field(ge=1, le=1024)]
    runs: Path
    """Folder of the run folders."""
    progress: Literal["auto", "bar", "lines", "none"]
    resume: Literal["exact", "inexact"]
    """inexact: go on under other numerics (versions, device, threads), and mark the run."""
    wandb: Literal["auto", "online", "offline", "disabled"]
    wandb_project: Name
    wandb_entity: Name | None
    runs_per_gpu: Annotated[int | str, _auto_or(1, 64)] = "auto"
    """Runs that share a GPU at a time; auto: as many as it takes well."""
    log_layers_every: Annotated[int, Field(ge=0, le=10**6)] = 0
    """Log rows between two measurements of signals and gradients layer by layer; 0: none."""
    workers: Annotated[int | str, _auto_or(0, 256)] = "auto"
    """Processes that decode images for a run (imagenet); 0: its own alone; auto: by cores."""


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """One training run to be."""

    model: Model
    data: Data
    recipe: Recipe
    numerics: Numerics
    depth: Depth
    """Weighted layers."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    study: Annotated[str, _matching(r"[\w.-]{0,64}", "at most 64 letters, digits, ., _ or -")] = (
        field(default="", metadata=NOT_IDENTITY)
    )
    """The study that first trained this run: W&B groups by it."""
    # Lower case, since Hydra's `${model.norm}` in a text gives True, where its users write true.
    variant: Annotated[str, StringConstraints(max_length=64, to_lower=True)] = field(
        default="", metadata=NOT_IDENTITY
    )
    """What the run varies within its study beside arm, depth and seed, for example `alpha=0.3`."""

    def __post_init__(self) -> None:
        blocks = architecture.stages(self.model.design, self.depth)
        self._check_channels()
        shallow = self.recipe.identity_init_from
        if shallow is None:
            return
        given = f"recipe.identity_init_from={shallow}"
        if self.model.design != "cifar":
            raise ConfigError(f"{given}: needs model.design=cifar")
        if architecture.blocks_per_stage(shallow) >= blocks[0]:
            raise ConfigError(f"{given}: must be below depth={self.depth}")

    def _check_channels(self) -> None:
        """Refuse the 1×1 convolutions of stride 2 that crash (see LEAST_CHANNELS)."""
        model = self.model
        for unit in architecture.units(model.design, self.depth, model.width):
            projects = model.shortcut in ("projection", "projection_all")
            strided = projects or (unit.is_bottleneck and model.stride_in_1x1)
            if unit.stride == 2 and strided and unit.inputs < LEAST_CHANNELS:
                raise ConfigError(
                    f"model.width={model.width}: gives a 1×1 convolution of stride 2 with "
                    f"{unit.inputs} input channels, and with fewer than {LEAST_CHANNELS} torch "
                    "crashes on a CPU (oneDNN issue 6035); give a larger model.width"
                )

    @property
    def arm(self) -> str:
        return self.model.arm

    @property
    def label(self) -> str:
        """The readable part of the name."""
        return f"{self.data.name}-{self.arm}-{self.depth}-s{self.seed}"

    @property
    def name(self) -> str:
        """The run folder's name."""
        return f"{self.label}-{self.hash}"

    @cached_property
    def hash(self) -> str:
        """Eight hex digits of the SHA-256 of all that changes the result."""
        return digest(identity(self))

    @property
    def pair(self) -> str:
        """A hash that two runs share exactly when they differ at most in the shortcut."""
        return digest(self._without_arm())

    @property
    def protocol(self) -> str:
        """A hash of all that a study holds fixed: everything but shortcut, depth and seed."""
        return digest(self._without_arm() | {"depth": 20, "seed": 0})

    def _without_arm(self) -> dict[str, Any]:
        content = identity(self)
        return content | {"model": content["model"] | {"shortcut": "none"}}

    def with_shortcut(self, shortcut: str) -> "RunConfig":
        """The run that differs from this one in the shortcut alone."""
        model = dataclasses.replace(self.model, shortcut=shortcut)  # type: ignore[arg-type]
        return dataclasses.replace(self, model=model)


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All that a command line sets: a run, and the machine it runs on."""

    config: RunConfig
    machine: Machine


def keys() -> list[str]:
    """Every key that a command line may set, dotted, groups included."""
    return [*paths(RunConfig), "machine", *paths(Machine, "machine.")]
