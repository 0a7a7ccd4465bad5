"""Command lines: what they ask for, and what is refused before anything trains."""

import importlib.util
import re
import time
from collections import Counter, defaultdict
from itertools import takewhile
from pathlib import Path

import hydra
import pytest

from degradation.config import (
    compose,
    names,
    study,
    validation,
)
from degradation.config.study import Line, settings
from degradation.system.paths import CONF, TOP


def configs(*arguments: str) -> list[str]:
    return [s.config.label for s in settings(Line.read(arguments))]


def test_a_multirun_is_every_combination() -> None:
    asked = configs("-m", "model=plain,residual", "depth=20,56,110,1202")
    assert len(asked) == 8
    assert asked[:2] == ["cifar10-plain-20-s0", "cifar10-plain-56-s0"]


def test_equal_points_are_asked_for_once() -> None:
    assert len(configs("-m", "depth=20,20", "machine.threads=1,2")) == 1


def test_the_data_chooses_its_recipe() -> None:
    (digits,) = settings(Line.read(["data=digits"]))
    (other,) = settings(Line.read(["data=digits", "recipe=cifar10"]))
    assert digits.recipe.iterations == 400
    assert other.recipe.iterations == 64_000


def test_a_study_by_name_needs_no_flag_and_takes_other_axes() -> None:
    assert configs("+sweeps=quickstart") == [
        "digits-plain-56-s0", "digits-residual-56-s0",
        "digits-plain-20-s0", "digits-residual-20-s0",
    ]  # fmt: skip
    assert configs("+sweeps=quickstart", "depth=8", "seed=1,2")[-1] == "digits-residual-8-s2"
    assert len(configs("+sweeps=seeds")) == 20


STUDIES = [path.stem for path in sorted((TOP / "sweeps").glob("*.yaml"))]


def head(name: str) -> str:
    """The comment that a study opens with, in one line."""
    lines = (TOP / f"sweeps/{name}.yaml").read_text().splitlines()
    return " ".join(line[2:] for line in takewhile(lambda line: line.startswith("# "), lines))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_opens_with_its_command_and_its_promise(name: str) -> None:
    opening = head(name)
    assert opening.startswith(f"@package _global_ python -m degradation.run +sweeps={name} ")
    assert all(f" {word}: " in opening for word in ("Expect", "Points", "Time", "Device"))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_composes_to_the_points_that_it_promises(name: str) -> None:
    asked = settings(Line.read([f"+sweeps={name}"]))
    assert {s.study for s in asked} == {name}
    promised = head(name).partition(" Points: ")[2].partition(" iterations")[0]
    counts = re.findall(r"(\d+) of ([\d,]+)", promised)
    assert Counter(s.recipe.iterations for s in asked) == {
        int(iterations.replace(",", "")): int(count) for count, iterations in counts
    }


@pytest.mark.parametrize("name", STUDIES)
def test_every_point_has_its_other_arm_or_the_study_says_why_not(name: str) -> None:
    arms = defaultdict(set)
    for one in settings(Line.read([f"+sweeps={name}"])):
        arms[one.config.pair].add(one.config.arm)
    alone = [pair for pair, there in arms.items() if there != {"plain", "residual"}]
    assert bool(alone) == (" Other arm: " in head(name)), alone


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["+sweeps=seeds", "data=cifar10", "depth=20,32,44,56,110"], 50),
        (["+sweeps=table6", "depth=110", "seed=range(5)"], 5),
        (["+sweeps=shortcuts", "data=digits", "cluster=joblib"], 8),
        (
            [
                "+sweeps=longer",
                "data=digits",
                "recipe.iterations=1200",
                "recipe.milestones=[600,900]",
            ],
            4,
        ),
    ],
)
def test_variants_that_the_studies_name(arguments: list[str], count: int) -> None:
    """The command line has the last word on axes, data and recipe."""
    asked = settings(Line.read(arguments))
    assert len(asked) == count
    for argument in arguments[1:]:
        assert argument in head(arguments[0].removeprefix("+sweeps="))
    if "data=cifar10" in arguments:
        assert {s.recipe.iterations for s in asked} == {64_000}
        assert {s.depth for s in asked} == {20, 32, 44, 56, 110}


@pytest.mark.parametrize(
    "path", sorted(p for p in CONF.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}={p.stem}"
)
def test_every_configuration_composes_and_opens_with_its_command(path: Path) -> None:
    choice = f"{path.parent.name}={path.stem}"
    head = "\n".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert choice in head
    extra = names.EXTRAS.get({"slurm": "submitit_slurm"}.get(path.stem, path.stem))
    plugin = "submitit" if extra == "slurm" else extra
    if extra and importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}_launcher") is None:
        with pytest.raises(validation.ConfigError, match=rf"pip install 'degradation\[{extra}\]'"):
            settings(Line.read([choice]))
        return
    assert settings(Line.read([choice, "machine.wandb=disabled"]))


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("depth=21", ["depth=21", "6n+2", "20 and 26"]),
        ("depth=20.5", ["depth=20.5", "whole number"]),
        ("depth=abc", ["depth='abc'", "whole number"]),
        ("seed=-1", ["seed=-1", "at least 0"]),
        ("model=plian", ["model=plian", "plain, residual", "did you mean 'plain'"]),
        ("data=cifar", ["data=cifar", "cifar10, digits", "did you mean 'cifar10'"]),
        ("+sweeps=figur6", ["figur6", "did you mean 'figure6'"]),
        ("recipe=none", ["recipe=none", "cifar10, digits"]),
        ("dept=20", ["dept", "did you mean 'depth'"]),
        ("+dept=20", ["dept", "did you mean 'depth'"]),
        ("++recipe.lrr=1", ["recipe.lrr", "did you mean 'recipe.lr'"]),
        ("+recipe.lr=1", ["+recipe.lr=1", "give it as recipe.lr=…"]),
        ("~recipe.lr", ["recipe.lr", "missing"]),
        ("recipe.lr=-0.1", ["recipe.lr=-0.1", "above 0"]),
        ("recipe.lr=nan", ["recipe.lr=nan", "finite"]),
        ("recipe.lr=inf", ["recipe.lr=inf", "finite"]),
        ("recipe.batch_size=0", ["recipe.batch_size=0", "at least 1"]),
        ("recipe.milestones=[5,3]", ["recipe.milestones=[5, 3]", "must rise"]),
        ("recipe.milestones=[99999]", ["recipe.milestones=[99999]", "recipe.iterations=64000"]),
        ("recipe.milestones=5", ["recipe.milestones=5", "list"]),
        ("recipe.nesterov=maybe", ["recipe.nesterov='maybe'", "true or false"]),
        ("numerics.precision=fp16", ["fp16", "fp32, bf16"]),
        ("model.shortcut=projektion", ["projektion", "did you mean 'projection'"]),
        ("machine.device=gpu", ["machine.device=gpu", "auto, cpu, cuda"]),
        ("machine.wandb=ofline", ["ofline", "did you mean 'offline'"]),
        ("study=../up", ["study=../up", "A-Z"]),
        ("depth=20,56", ["depth=20,56", "--multirun"]),
        ("depth=[", ["["]),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(argument: str, says: list[str]) -> None:
    with pytest.raises(validation.ConfigError) as refusal:
        settings(Line.read([argument]))
    message = str(refusal.value)
    assert all(part in message for part in says), message
    assert len(message.splitlines()) <= 6
    assert "HYDRA_FULL_ERROR" not in message


def test_one_bad_point_refuses_the_study() -> None:
    with pytest.raises(validation.ConfigError, match="depth=21"):
        settings(Line.read(["-m", "depth=20,21,56"]))


def test_own_configuration_folders_are_searched(tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    own = (CONF / "recipe/digits.yaml").read_text().replace("lr: 0.05", "lr: 0.25")
    (tmp_path / "recipe/mine.yaml").write_text(own)
    line = Line.read(["--config-dir", str(tmp_path), "data=digits", "recipe=mine"])
    assert settings(line)[0].recipe.lr == 0.25


def test_points_that_share_a_composition_are_what_hydra_composes(tmp_path: Path) -> None:
    """Whether the files refer to what a run sets or not, however they say it."""
    (tmp_path / "recipe").mkdir()
    own = (CONF / "recipe/digits.yaml").read_text()
    own = own.replace("eval_every: 25", "eval_every: ${recipe.iterations}")
    own = own.replace("warmup_window: 10", "warmup_window: ${.batch}")
    (tmp_path / "recipe/mine.yaml").write_text(own)
    line = ["--config-dir", str(tmp_path), "-m", "data=digits", "recipe=mine", "data.root=a,b",
            "recipe.iterations=400,500", "recipe.batch_size=64,128", "recipe.lr=0.1,0.2",
            "study=x,'${data.root}'", "recipe.milestones=[1,2],[]"]  # fmt: skip
    asked = Line.read(line)
    with study.prepared(asked):
        quick = compose.Composer()
        overrides, _ = compose.expand(quick, asked.overrides, multirun=True)
        composed = [compose.to_container(hydra.compose("config", each)) for each in overrides]
        assert [quick(each) for each in overrides] == composed
    assert len(composed) == 64
    assert {c["recipe"]["eval_every"] for c in composed} == {400, 500}
    assert {c["study"] for c in composed} == {"x", "a", "b"}


def test_five_thousand_points_are_enumerated_in_seconds() -> None:
    began = time.process_time()
    axes = ["model=plain,residual", "depth=20,32,44,56,110", "seed=range(500)"]
    assert len(settings(Line.read(["-m", *axes]))) == 5000
    assert time.process_time() - began < 8  # 1.6 s on an idle core; 24 s before


def test_questions_are_left_to_hydra() -> None:
    assert Line.read(["--help"]).asks
    assert Line.read(["--cfg", "job"]).asks
    assert not Line.read(["depth=20"]).asks
