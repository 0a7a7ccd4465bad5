"""What a run is: its hash and name, its pair and its protocol.

A pinned hash that changes here means that the runs people already have are not found any more, and
are trained again. Give a new setting a default, and see what identity.FORMAT says.
"""

import dataclasses
import json
from typing import Any

import pytest

from degradation.config import identity, schema, validation
from degradation.config.overrides import content
from tests.conftest import small


def composed(data: str, arm: str, depth: int, seed: int = 0) -> schema.RunConfig:
    """The run that conf/ gives for `data=… model=… depth=… seed=…`."""
    network = content("network", data)
    groups = {
        "model": content("model", arm) | network.get("model", network),
        "data": content("data", data),
        "recipe": content("recipe", data),
        "numerics": content("numerics", "reference"),
    }
    return validation.read(schema.RunConfig, {**groups, "depth": depth, "seed": seed})


PINS = [
    ("cifar10", "plain", 20, 0, "7250565a"),
    ("cifar10", "residual", 20, 0, "67f41df9"),
    ("cifar10", "plain", 110, 0, "903ec4c7"),
    ("cifar10", "residual", 110, 4, "01d2215f"),
    ("digits", "plain", 56, 0, "ab0ddcfc"),
    ("imagenet", "residual", 34, 0, "a279e6da"),
]


@pytest.mark.parametrize(("data", "arm", "depth", "seed", "pin"), PINS)
def test_pinned_names(data: str, arm: str, depth: int, seed: int, pin: str) -> None:
    assert composed(data, arm, depth, seed).name == f"{data}-{arm}-{depth}-s{seed}-{pin}"


def test_pinned_hashes_of_the_papers_study() -> None:
    config = composed("cifar10", "residual", 56)
    assert (config.pair, config.protocol) == ("bc859657", "7250565a")


# Of each setting, a value other than that of `rich`.
OF_A_FOLDER = {
    "data__crop_size": 33,
    "data__resize_range": [47, 64],
    "data__eval_resize": 41,
    "data__pca_lighting": True,
}
OTHER = OF_A_FOLDER | {
    "model__shortcut": "projection",
    "model__shortcut_padding": "split",
    "model__width": 9,
    "model__design": "bottleneck",
    "model__stride_in_1x1": False,
    "model__alpha": 0.5,
    "model__norm": False,
    "model__ghost_batch_size": 8,
    "data__name": "cifar10",
    "data__val_size": 1,
    "data__pad": 2,
    "data__flip": True,
    "recipe__iterations": 13,
    "recipe__batch_size": 17,
    "recipe__lr": 0.05 * (1 - 2**-52),
    "recipe__milestones": [5, 9],
    "recipe__gamma": 0.2,
    "recipe__momentum": 0.8,
    "recipe__nesterov": True,
    "recipe__weight_decay": 0.0,
    "recipe__weight_decay_on_norm": False,
    "recipe__init": "fan_out",
    "recipe__warmup_min_depth": 110,
    "recipe__warmup_lr": 0.006,
    "recipe__warmup_error": 81,
    "recipe__warmup_window": 3,
    "recipe__eval_every": 5,
    "recipe__plateau_patience": 2,
    "recipe__plateau_threshold": 0.2,
    "recipe__optimizer": "adamw",
    "recipe__identity_init_from": 8,
    "recipe__identity_init_noise": 0.1,
    "numerics__precision": "bf16",
    "numerics__memory_format": "contiguous",
    "numerics__deterministic": False,
    "numerics__compiled": True,
    "numerics__native": True,
    "numerics__fused": True,
    "depth": 26,
    "seed": 1,
}
WITH = {
    "recipe__plateau_patience": {"recipe__milestones": []},
    "recipe__identity_init_noise": {"recipe__identity_init_from": 8},
}
NEVER_IDENTITY = {
    "data__root": "x",
    "data__download": True,
    "data__skip": "list",
    "numerics__graph": "off",
    "study": "x",
    "variant": "x",
}
FOLDER = {
    "data__name": "imagenet",
    "data__pad": 0,
    "data__crop_size": 32,
    "data__resize_range": [48, 64],
    "data__eval_resize": 40,
}


def rich(key: str, **changes: Any) -> schema.RunConfig:
    """A run of which the setting `key` may have another value."""
    folder: dict[str, Any] = FOLDER if key in {*OF_A_FOLDER, "data__skip"} else {}
    base = {"depth": 20, "model__shortcut": "identity", "model__width": 8}
    return small(**{**base, **folder, **WITH.get(key, {}), **changes})


def test_the_tables_have_every_setting() -> None:
    groups = ("model", "data", "recipe", "numerics")
    keys = {path.replace(".", "__") for path in validation.paths(schema.RunConfig)}
    assert keys - set(groups) == {*OTHER, *NEVER_IDENTITY}


@pytest.mark.parametrize("key", OTHER)
def test_a_setting_that_changes_the_result_changes_the_hash(key: str) -> None:
    one, other = rich(key), rich(key, **{key: OTHER[key]})
    assert one.hash != other.hash
    assert (one.pair == other.pair) == (key == "model__shortcut")
    held = {"model__shortcut", "depth", "seed"}
    assert (one.protocol == other.protocol) == (key in held)


@pytest.mark.parametrize("key", NEVER_IDENTITY)
def test_what_changes_no_bit_is_no_identity(key: str) -> None:
    one, other = rich(key), rich(key, **{key: NEVER_IDENTITY[key]})
    assert one != other
    assert (one.hash, one.pair) == (other.hash, other.pair)


def test_a_whole_number_means_the_same_as_its_float() -> None:
    assert small(recipe__lr=1).hash == small(recipe__lr=1.0).hash


def test_a_run_survives_json() -> None:
    config = dataclasses.replace(composed("imagenet", "residual", 50, 2), variant="alpha=0.3")
    again = validation.read(schema.RunConfig, json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config and again.name == config.name


def test_a_setting_added_with_a_default_is_identity_only_where_it_differs() -> None:
    @dataclasses.dataclass
    class Later:
        lr: float
        new: int = 3
        unhashed: int = dataclasses.field(default=0, metadata=identity.NOT_IDENTITY)

    assert identity.identity(Later(1.0, unhashed=5)) == {"lr": 1.0}
    assert identity.identity(Later(1.0, new=4)) == {"lr": 1.0, "new": 4}
