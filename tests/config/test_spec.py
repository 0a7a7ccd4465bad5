"""What a run is: its hash and name, its pair and protocol, and what is refused.

A pin that changes here means that the runs people already have are not found any more, and are
trained again. Give a new field a default; raise spec.FORMAT only where a field's meaning changes.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from degradation.config import architecture, schema, validation
from degradation.config.validation import ConfigError, number
from degradation.system.paths import CONF
from tests.conftest import small as small_point

Small = Callable[..., schema.RunConfig]


def composed(data: str, arm: str, depth: int, seed: int = 0) -> schema.RunConfig:
    """The run that conf/ gives for `data=… model=… depth=… seed=…`."""
    groups = {"model": arm, "data": data, "recipe": data, "numerics": "reference"}
    mapping: dict[str, Any] = {
        group: OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
        for group, name in groups.items()
    }
    mapping["model"] |= OmegaConf.to_container(OmegaConf.load(CONF / "network" / f"{data}.yaml"))
    return validation.read(schema.RunConfig, {**mapping, "depth": depth, "seed": seed})


PINS = [
    ("cifar10", "plain", 20, 0, "0e3f9aa4"),
    ("cifar10", "residual", 20, 0, "ea9caca1"),
    ("cifar10", "plain", 110, 0, "7da9821d"),
    ("cifar10", "residual", 110, 0, "721dca1d"),
    ("cifar10", "residual", 110, 4, "1ce4f8e6"),
    ("digits", "plain", 56, 0, "bcaecb9b"),
]


@pytest.mark.parametrize(("data", "arm", "depth", "seed", "pin"), PINS)
def test_pinned_names(data: str, arm: str, depth: int, seed: int, pin: str) -> None:
    config = composed(data, arm, depth, seed)
    assert (config.arm, config.hash) == (arm, pin)
    assert config.name == f"{data}-{arm}-{depth}-s{seed}-{pin}"


def test_pinned_keys_of_the_papers_study() -> None:
    config = composed("cifar10", "residual", 56)
    assert (config.pair, config.protocol) == ("9bf3422e", "0e3f9aa4")


LEAVES = [
    path
    for path in validation.paths(schema.RunConfig)
    if not any(other.startswith(f"{path}.") for other in validation.paths(schema.RunConfig))
]
ALONE = {"model.design", "recipe.plateau_patience"}  # allow few values of others beside them
NEVER_IDENTITY = {"data.root", "data.download", "data.skip", "numerics.graph"}
OF_A_FOLDER = {
    "data.crop_size",
    "data.resize_range",
    "data.eval_resize",
    "data.pca_lighting",
    "data.draft",
    "data.skip",
}
IDENTITY = [path for path in LEAVES if path not in {*NEVER_IDENTITY, *ALONE}]


def field_at(path: str) -> "dataclasses.Field[Any]":
    """The field of Point at a dotted path."""
    kind: Any = schema.RunConfig
    for part in path.split("."):
        (field,) = (f for f in dataclasses.fields(kind) if f.name == part)
        kind = field.type
    return field


def other_value(value: Any, path: str) -> Any:
    """The nearest other value that may stand at `path`."""
    if path == "depth":
        return value + 6
    if path == "recipe.identity_init_from":
        return 14
    if path == "data.skip":
        return "list"
    if path == "data.crop_size":
        return value - 1
    if allowed := field_at(path).metadata.get("allowed"):
        return next(word for word in allowed if word != value)
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * (1 - 2**-52) or 0.5
        case str():
            return value + "x"
        case list():
            return [value[0] - 1, *value[1:]]
        case None:
            return 110
    raise AssertionError(f"{path}: say here how {value!r} changes")


def changed(config: schema.RunConfig, path: str) -> schema.RunConfig:
    """`run` with another value at `path`."""
    mapping = schema.plain(config)
    *groups, leaf = path.split(".")
    inner = mapping
    for group in groups:
        inner = inner[group]
    inner[leaf] = other_value(inner[leaf], path)
    return validation.read(schema.RunConfig, mapping)


FOLDER = {
    "data__name": "imagenet", "data__pad": 0, "data__crop_size": 32, "data__resize_range": [48, 64],
    "data__eval_resize": 40,
}  # fmt: skip


def rich(path: str) -> schema.RunConfig:
    """A run of which the field at `path` may have another value."""
    return small_point(
        depth=20, model__shortcut="identity", recipe__identity_init_from=8,
        **(FOLDER if path in OF_A_FOLDER else {}),
    )  # fmt: skip


@pytest.mark.parametrize("path", IDENTITY)
def test_every_setting_that_changes_the_result_changes_the_hash(path: str) -> None:
    config = rich(path)
    other = changed(config, path)
    assert other != config
    assert other.hash != config.hash


def test_another_design_or_schedule_is_another_point() -> None:
    one, other = (small_point(depth=20, model__design=name) for name in ("cifar", "bottleneck"))
    assert one.hash == small_point(depth=20).hash != other.hash
    assert one.pair != other.pair and one.protocol != other.protocol
    watched = small_point(depth=20, recipe__milestones=[], recipe__plateau_patience=2)
    assert watched.hash != small_point(depth=20, recipe__milestones=[]).hash
    with pytest.raises(ConfigError, match=r"recipe\.grown_from=8: needs model\.design=cifar"):
        small_point(depth=20, model__design="bottleneck", recipe__identity_init_from=8)


@pytest.mark.parametrize("path", sorted(NEVER_IDENTITY))
def test_what_changes_no_bit_is_no_identity(path: str, small: Small) -> None:
    config = rich(path)
    other = changed(config, path)
    assert other != config
    assert (other.hash, other.pair) == (config.hash, config.pair)


def test_identity_leaves_out_exactly_that() -> None:
    marked = {path for path in LEAVES if not field_at(path).metadata.get("identity", True)}
    assert marked == NEVER_IDENTITY


def settings(
    config: schema.RunConfig, machine: schema.Machine, study: str = "test"
) -> schema.Settings:
    return validation.read(
        schema.Settings, {**schema.plain(config), "machine": schema.plain(machine), "study": study}
    )


def test_machine_and_study_are_no_identity(small: Small, machine: schema.Machine) -> None:
    other = dataclasses.replace(
        machine, device="cuda:1", threads=7, runs="elsewhere", progress="bar", resume="inexact",
        wandb="online", wandb_project="p", wandb_entity="e", pack=3, accumulate=2,
        layers_every=2, tensorboard=True, workers=3,
    )  # fmt: skip
    assert {f.name for f in dataclasses.fields(other)} == {
        name for name, value in schema.plain(other).items() if value != schema.plain(machine)[name]
    }
    configs = [settings(small(), machine, "a").config, settings(small(), other, "b").config]
    assert configs == [small(), small()]


@dataclass(frozen=True)
class Old:
    rate: float


@dataclass(frozen=True)
class New:
    rate: float
    later: int = number(0, 9, default=3)
    inner: Old = dataclasses.field(default=Old(0.5))
    never: int = number(default=0, identity=False)


def test_a_field_added_with_a_default_is_identity_only_where_it_differs() -> None:
    assert schema.identity(New(1.0)) == schema.identity(Old(1.0)) == {"rate": 1.0}
    assert schema.identity(New(1.0, never=5)) == {"rate": 1.0}
    assert schema.identity(New(1.0, later=4)) == {"rate": 1.0, "later": 4}
    assert schema.identity(New(1.0, inner=Old(0.6))) == {"rate": 1.0, "inner": {"rate": 0.6}}


def test_pair_is_shared_by_every_shortcut(small: Small) -> None:
    config = small()
    others = [config.with_shortcut(s) for s in ("identity", "projection", "projection_all")]
    assert {p.pair for p in others} == {config.pair}
    assert len({p.hash for p in (config, *others)}) == 4
    assert [p.arm for p in (config, *others)] == ["plain", *["residual"] * 3]


@pytest.mark.parametrize("path", [p for p in IDENTITY if p != "model.shortcut"])
def test_pair_differs_with_everything_else(path: str) -> None:
    assert changed(rich(path), path).pair != rich(path).pair


@pytest.mark.parametrize("path", IDENTITY)
def test_protocol_is_all_but_shortcut_depth_and_seed(path: str) -> None:
    same = changed(rich(path), path).protocol == rich(path).protocol
    assert same == (path in {"model.shortcut", "depth", "seed"})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data__crop_size": 224}, r"data\.crop=224: must be null for data=digits"),
        ({"data__resize_range": [256, 480]}, r"data\.scale=.*: must be null for data=digits"),
        ({"data__pca_lighting": True}, r"data\.colour=True: must be false for data=digits"),
        ({"data__name": "imagenet"}, r"data\.pad=1: must be 0 for data=imagenet"),
        ({"data__name": "imagenet", "data__pad": 0}, r"data\.crop=None, data\.resize=None: both"),
        (
            {**FOLDER, "data__resize_range": [16, 64]},
            r"data\.scale=\[16, 64\]: .*from data\.crop=32 on",
        ),
        (
            {**FOLDER, "data__resize_range": [64, 48]},
            r"data\.scale=\[64, 48\]: must be two .* that rise",
        ),
        ({**FOLDER, "data__eval_resize": 31}, r"data\.crop=32, data\.resize=31: .*fit"),
        ({**FOLDER, "data__val_size": 5}, r"data\.held_out=5: must be 0 for data=imagenet"),
    ],
)
def test_a_folders_settings_go_with_a_folder(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{why}"):
        small_point(**changes)


@pytest.mark.parametrize("workers", [-1, 257, "many"])
def test_other_numbers_of_workers_are_refused(workers: Any, machine: schema.Machine) -> None:
    with pytest.raises(ConfigError, match=r"^machine\.workers=.*: must be auto, or a number"):
        dataclasses.replace(machine, workers=workers)


@pytest.mark.parametrize("depth", [8, 14, 20, 26, 32, 44, 50, 56, 110, 1202])
def test_depths_of_6n_plus_2_are_allowed(depth: int, small: Small) -> None:
    assert architecture.stages("cifar", depth) == ((depth - 2) // 6,) * 3
    assert small(depth=depth).label == f"digits-plain-{depth}-s0"


@pytest.mark.parametrize(
    ("depth", "near"), [(1, "8"), (2, "8"), (5, "8"), (7, "8"), (9, "8 and 14"),
                        (19, "14 and 20"), (21, "20 and 26"), (1201, "1196 and 1202")],
)  # fmt: skip
def test_other_depths_are_answered_with_the_nearest(depth: int, near: str, small: Small) -> None:
    with pytest.raises(ConfigError, match=rf"^depth={depth}: must be 6n\+2 .*nearest {near}$"):
        small(depth=depth)


@pytest.mark.parametrize(
    ("drops", "why"),
    [
        ([9, 6], "must rise"),
        ([6, 6], "must rise"),
        ([6, 12], r"must lie before recipe\.iterations=12"),
        ([13], r"must lie before recipe\.iterations=12"),
    ],
)
def test_drops_must_rise_and_lie_before_the_end(drops: Any, why: str, small: Small) -> None:
    with pytest.raises(ConfigError, match=rf"^recipe\.drops=.*: {why}$"):
        small(recipe__milestones=drops)


@pytest.mark.parametrize("drops", [[], [11], [1, 2, 3]])
def test_drops_may_be_none_or_many(drops: Any, small: Small) -> None:
    assert small(recipe__milestones=drops).recipe.milestones == tuple(drops)


def test_rows_lie_at_every_interval_each_drop_and_the_end(small: Small) -> None:
    recipe = small(recipe__iterations=14, recipe__milestones=[6, 9]).recipe
    assert [i for i in range(15) if recipe.row_at(i)] == [0, 4, 6, 8, 9, 12, 14]
    assert [i for i in range(15) if recipe.clean_at(i)] == [6, 9, 14]


@pytest.mark.parametrize("study", ["a", "digits", "2026-07_a.b", "x" * 64])
def test_study_names(study: str, small: Small, machine: schema.Machine) -> None:
    assert settings(small(), machine, study).study == study


@pytest.mark.parametrize("study", ["", "a b", "a/b", "../x", "é", "x" * 65, "a\n"])
def test_study_names_that_no_folder_could_bear(
    study: str, small: Small, machine: schema.Machine
) -> None:
    with pytest.raises(ConfigError, match=r"^study=.*: must be 1 to 64 of A-Z a-z 0-9 \. _ -$"):
        settings(small(), machine, study)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(device: str, machine: schema.Machine) -> None:
    assert dataclasses.replace(machine, device=device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU"])
def test_other_devices_are_refused(device: str, machine: schema.Machine) -> None:
    with pytest.raises(
        ConfigError, match=r"^machine\.device=.*: must be auto, cpu, cuda or cuda:N$"
    ):
        validation.read(schema.Machine, schema.plain(machine) | {"device": device}, "machine")


def test_settings_refuse_a_point_that_cannot_be(small: Small, machine: schema.Machine) -> None:
    mapping = {**schema.plain(small()), "machine": schema.plain(machine), "study": "test"}
    with pytest.raises(ConfigError, match=r"^depth=21"):
        validation.read(schema.Settings, {**mapping, "depth": 21})
    with pytest.raises(ConfigError, match=r"^seed=-1"):
        validation.read(schema.Settings, {**mapping, "seed": -1})


def test_difference_names_each_leaf(small: Small) -> None:
    a, b = small(), small(model__shortcut="identity", recipe__milestones=[5], seed=3)
    assert schema.difference(schema.plain(a), schema.plain(b)) == [
        "model.shortcut: none → identity",
        "recipe.milestones: [6, 9] → [5]",
        "seed: 0 → 3",
    ]
    assert schema.difference(schema.plain(a), schema.plain(a)) == []
    assert schema.difference({"a": 1}, {"b": {"c": 2}}) == ["a: 1 → None", "b: None → {'c': 2}"]


@pytest.mark.parametrize("arm", schema.ARMS)
def test_a_point_survives_json(arm: str) -> None:
    config = composed("cifar10", arm, 110, 2)
    again = validation.read(schema.RunConfig, json.loads(json.dumps(schema.plain(config))))
    assert again == config
    assert again.name == config.name


def test_plain_is_what_json_can_say(small: Small) -> None:
    def only_json(value: Any) -> bool:
        if isinstance(value, Mapping):
            return all(isinstance(k, str) and only_json(v) for k, v in value.items())
        if isinstance(value, list):
            return all(map(only_json, value))
        return value is None or type(value) in (bool, int, float, str)

    assert only_json(schema.plain(small()))
