"""Settings: what is taken, and what people are told about the rest."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from degradation.config import schema, validation
from degradation.config.validation import ConfigError
from tests.config.test_identity import FOLDER
from tests.conftest import small


def machine_with(machine: schema.Machine, **changes: Any) -> schema.Machine:
    return validation.read(schema.Machine, asdict(machine) | changes, "machine")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("depth", "20", "must be a valid integer"),
        ("depth", 20.5, "must be a valid integer"),
        ("depth", True, "must be a valid integer"),
        ("seed", -1, "must be greater than or equal to 0"),
        ("recipe__lr", 0, "must be greater than 0"),
        ("recipe__lr", -0.1, "must be greater than 0"),
        ("recipe__lr", math.nan, "must be a finite number"),
        ("recipe__lr", math.inf, "must be a finite number"),
        ("recipe__lr", 10**400, "must be a finite number"),
        ("recipe__nesterov", "maybe", "must be a valid boolean"),
        ("recipe__milestones", 5, "must be a valid array"),
        ("recipe__warmup_min_depth", 0, "must be greater than or equal to 1"),
        (
            "model__shortcut",
            "identty",
            "must be 'none', 'identity', 'projection' or 'projection_all'"
            " (did you mean 'identity'?)",
        ),
        ("model", 5, "must be an object"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(**{key: value})
    message = str(caught.value)
    assert message.startswith(f"{key.replace('__', '.')}=")
    assert message.endswith(f": {says}")
    assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("recipe__learning_rate", "recipe.lr"),
        ("recipe__lrr", "recipe.lr"),
        ("recipe__epochs", "recipe.iterations"),
        ("model__ghost_batch", "model.ghost_batch_size"),
        ("lr", "recipe.lr"),
        ("layers", "depth"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_one_that_is_meant(key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small(**{key: 1})
    assert f": no such setting (did you mean {meant!r}?)" in str(caught.value)


def test_a_missing_setting_says_how_to_give_it() -> None:
    mapping = asdict(small())
    del mapping["recipe"]["lr"]
    with pytest.raises(ConfigError, match=r"^recipe\.lr: missing; give it as recipe\.lr=…$"):
        validation.read(schema.RunConfig, mapping)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data__crop_size": 224}, r"data\.crop_size=224: has no meaning for data=digits"),
        ({"data__name": "imagenet"}, r"data\.pad=1: has no meaning for data=imagenet"),
        ({"data__name": "imagenet", "data__pad": 0}, r"data\.crop_size=None, .*: both must be"),
        ({**FOLDER, "data__resize_range": [64, 48]}, r"data\.resize_range=\[64, 48\]: .*that rise"),
        ({**FOLDER, "data__eval_resize": 31}, r"data\.crop_size=32, data\.eval_resize=31: .*fit"),
        ({"model__alpha": 0.5}, r"model\.alpha=0\.5: must be 1 in a plain net"),
        ({"model__norm": False, "model__ghost_batch_size": 8}, r"model\.ghost_batch_size=8: "),
        ({"recipe__milestones": [9, 6]}, r"recipe\.milestones=\[9, 6\]: must rise"),
        ({"recipe__milestones": [12]}, r"recipe\.milestones=.* before recipe\.iterations=12"),
        ({"recipe__plateau_patience": 2}, r"recipe\.milestones=.*: must be \[\] where"),
        ({"recipe__identity_init_noise": 0.1}, r"recipe\.identity_init_noise=0\.1: must be 0"),
        ({"recipe__identity_init_from": 8}, r"recipe\.identity_init_from=8: must be below depth=8"),
        ({"numerics__native": True, "numerics__precision": "bf16"}, r"numerics\.precision=bf16: "),
        (
            {"numerics__fused": True, "numerics__compiled": True},
            r"numerics\.compiled=true: must be false where numerics\.fused=true",
        ),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^{why}"):
        small(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__shortcut": "projection", "model__width": 4},
        {"model__shortcut": "projection_all", "model__width": 7},
        {"model__design": "bottleneck", "model__width": 1, "depth": 20},
    ],
)
def test_a_convolution_that_crashes_torch_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^model\.width=.*oneDNN"):
        small(**changes)
    assert small(**changes | {"model__width": 8})


@pytest.mark.parametrize(("depth", "near"), [(1, "8"), (9, "8 and 14"), (21, "20 and 26")])
def test_other_depths_are_answered_with_the_nearest(depth: int, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"^depth={depth}: must be 6n\+2 .*nearest {near}$"):
        small(depth=depth)


def test_rows_lie_at_every_interval_each_milestone_and_the_end() -> None:
    recipe = small(recipe__iterations=14, recipe__milestones=[6, 9]).recipe
    assert [i for i in range(15) if recipe.row_at(i)] == [0, 4, 6, 8, 9, 12, 14]
    assert [i for i in range(15) if recipe.evaluates_train_at(i)] == [6, 9, 14]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "gpu"}, r"machine\.device=gpu: must match pattern"),
        ({"workers": -1}, r"machine\.workers=-1: must be auto, or a whole number from 0 to 256"),
        ({"runs_per_gpu": True}, r"machine\.runs_per_gpu=True: must be auto, or"),
        ({"wandb": "ofline"}, r"machine\.wandb=ofline: .*did you mean 'offline'"),
        ({"wandb_project": "a b"}, r"machine\.wandb_project=a b: .*"),
    ],
)
def test_other_machines_are_refused(
    changes: dict[str, Any], says: str, machine: schema.Machine
) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        machine_with(machine, **changes)
