"""What a run is: its hash and name, its pair and its protocol.

A pinned hash that changes here means that the runs people already have are not found any more, and
are trained again. Give a new setting a default, and see what identity.FORMAT says.
"""

import dataclasses
import json
from typing import Any

import pytest
import yaml

from degradation.config import compose, identity, schema, validation
from tests.conftest import small


def composed(data: str, arm: str, depth: int, seed: int = 0) -> schema.RunConfig:
    words = [f"data={data}", f"model={arm}", f"depth={depth}", f"seed={seed}"]
    return compose.runs_of(words)[0].config


@pytest.mark.parametrize(
    ("data", "arm", "depth", "seed", "pin"),
    [
        ("cifar10", "plain", 20, 0, "7250565a"),
        ("cifar10", "residual", 20, 0, "67f41df9"),
        ("cifar10", "plain", 110, 0, "903ec4c7"),
        ("cifar10", "residual", 110, 4, "01d2215f"),
        ("digits", "plain", 56, 0, "ab0ddcfc"),
        ("imagenet", "residual", 34, 0, "a279e6da"),
    ],
)
def test_pinned_names(data: str, arm: str, depth: int, seed: int, pin: str) -> None:
    assert composed(data, arm, depth, seed).name == f"{data}-{arm}-{depth}-s{seed}-{pin}"


def test_pinned_pair_and_protocol() -> None:
    config = composed("cifar10", "residual", 56)
    assert (config.pair, config.protocol) == ("bc859657", "7250565a")


def settings(text: str) -> dict[str, Any]:
    """Changes for `small` from groups of settings."""
    groups = yaml.safe_load(text)
    flat = {f"{group}__{key}": v for group in groups for key, v in groups[group].items()}
    return {key.removeprefix("run__"): value for key, value in flat.items()}


FOLDER = settings("""
data: {name: imagenet, pad: 0, crop_size: 32, resize_range: [48, 64], eval_resize: 40}
""")
OF_A_FOLDER = settings("""
data: {crop_size: 33, resize_range: [47, 64], eval_resize: 41, pca_lighting: true}
""")
# Of each setting, a value other than that of `rich`.
OTHER = OF_A_FOLDER | settings("""
model: {shortcut: projection, shortcut_padding: split, width: 9, design: bottleneck, alpha: 0.5,
        stride_in_1x1: false, norm: false, ghost_batch_size: 8}
data: {name: cifar10, val_size: 1, pad: 2, flip: true}
recipe: {iterations: 13, batch_size: 17, lr: 0.04999999999999999, milestones: [5, 9], gamma: 0.2,
         momentum: 0.8, nesterov: true, weight_decay: 0.0, weight_decay_on_norm: false,
         init: fan_out, warmup_min_depth: 110, warmup_lr: 0.006, warmup_error: 81,
         warmup_window: 3, eval_every: 5, plateau_patience: 2, plateau_threshold: 0.2,
         optimizer: adamw, identity_init_from: 8, identity_init_noise: 0.1}
numerics: {precision: bf16, memory_format: contiguous, deterministic: false, compiled: true,
           native: true, fused: true}
run: {depth: 26, seed: 1}
""")
WITH = {
    "recipe__plateau_patience": {"recipe__milestones": []},
    "recipe__identity_init_noise": {"recipe__identity_init_from": 8},
}
NEVER_IDENTITY = settings("""
data: {root: x, download: true, skip: list}
numerics: {graph: 'off'}
run: {study: x, variant: x}
""")


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
