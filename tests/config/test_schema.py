"""Settings: what is taken, and what people are told about the rest."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from degradation.config import schema, validation
from degradation.config.validation import ConfigError
from tests.config.test_identity import FOLDER
from tests.conftest import small

SHORTCUTS = "'none', 'identity', 'projection' or 'projection_all'"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": "20"}, "depth=.*: must be a valid integer"),
        ({"depth": 20.5}, "depth=20.5: must be a valid integer"),
        ({"depth": True}, "depth=.*: must be a valid integer"),
        ({"depth": 1}, r"depth=1: must be 6n\+2 .*nearest 8$"),
        ({"depth": 9}, r"depth=9: must be 6n\+2 .*nearest 8 and 14"),
        ({"depth": 21}, r"depth=21: must be 6n\+2 .*nearest 20 and 26"),
        ({"seed": -1}, "seed=-1: must be greater than or equal to 0"),
        ({"recipe__lr": 0}, "recipe.lr=0.*: must be greater than 0"),
        ({"recipe__lr": -0.1}, "recipe.lr=-0.1: must be greater than 0"),
        ({"recipe__lr": math.nan}, "recipe.lr=.*: must be a finite number"),
        ({"recipe__lr": math.inf}, "recipe.lr=.*: must be a finite number"),
        ({"recipe__lr": 10**400}, "recipe.lr=.*: must be a finite number"),
        ({"recipe__nesterov": "maybe"}, "recipe.nesterov=maybe: must be a valid boolean"),
        ({"recipe__milestones": 5}, "recipe.milestones=5: must be a valid array"),
        ({"recipe__warmup_min_depth": 0}, "recipe.warmup_min_depth=0: must be greater .* to 1"),
        ({"model__shortcut": "identty"}, rf".*: must be {SHORTCUTS} \(did you mean 'identity'\?\)"),
        ({"model": 5}, "model=5: must be an object"),
        # An unknown setting is answered with the one that is meant.
        ({"recipe__learning_rate": 1}, "recipe.learning_rate: no such setting .*'recipe.lr'.*"),
        ({"recipe__lrr": 1}, "recipe.lrr: no such setting .*'recipe.lr'.*"),
        ({"recipe__epochs": 1}, "recipe.epochs: no such setting .*'recipe.iterations'.*"),
        ({"model__ghost_batch": 1}, "model.ghost_batch: no such .*'model.ghost_batch_size'.*"),
        ({"lr": 1}, "lr: no such setting .*'recipe.lr'.*"),
        ({"layers": 1}, "layers: no such setting .*'depth'.*"),
        # Settings that do not go together.
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
            r"numerics\.compiled=true: must be ",
        ),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(changes, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        small(**changes)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_a_missing_setting_says_how_to_give_it() -> None:
    mapping = asdict(small())
    del mapping["recipe"]["lr"]
    with pytest.raises(ConfigError, match=r"^recipe\.lr: missing; give it as recipe\.lr=…$"):
        validation.read(schema.RunConfig, mapping)


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


def test_rows_lie_at_every_interval_each_milestone_and_the_end() -> None:
    recipe = small(recipe__iterations=14, recipe__milestones=[6, 9]).recipe
    assert [i for i in range(15) if recipe.row_at(i)] == [0, 4, 6, 8, 9, 12, 14]
    assert [i for i in range(15) if recipe.evaluates_train_at(i)] == [6, 9, 14]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"device": "gpu"}, r"machine\.device=gpu: must be auto, cpu, cuda or cuda:N"),
        ({"workers": -1}, r"machine\.workers=-1: must be auto, or a whole number from 0 to 256"),
        ({"runs_per_gpu": True}, r"machine\.runs_per_gpu=True: must be auto, or"),
        ({"wandb": "ofline"}, r"machine\.wandb=ofline: .*did you mean 'offline'"),
        ({"runs": ""}, r"machine\.runs=.*: must have at least 1 character"),
        ({"wandb_project": "a b"}, r"machine\.wandb_project=a b: .*"),
    ],
)
def test_other_machines_are_refused(changes: dict[str, Any], says: str, machine) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        validation.read(schema.Machine, asdict(machine) | changes, "machine")
