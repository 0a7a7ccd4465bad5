"""Command lines: which runs they ask for, and what is refused before one of them trains."""

import re
from collections import Counter, defaultdict
from itertools import takewhile
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from degradation.config import compose
from degradation.config.schema import Settings
from degradation.config.validation import ConfigError
from degradation.system.paths import CONF, TOP

STUDIES = [path.stem for path in sorted((TOP / "sweeps").glob("*.yaml"))]


def labels(*words: str) -> list[str]:
    return [s.config.label for s in compose.runs_of(words)]


def test_a_multirun_is_every_combination_once() -> None:
    asked = labels("-m", "model=plain,residual", "depth=20,56,20", "machine.threads=1,2")
    assert asked == [f"cifar10-{arm}-{d}-s0" for arm in ("plain", "residual") for d in (20, 56)]


def test_a_study_by_name_takes_other_axes() -> None:
    asked = labels("+sweeps=quickstart", "depth=8", "seed=1,2")
    assert asked == [f"digits-{arm}-8-s{seed}" for arm in ("plain", "residual") for seed in (1, 2)]


@pytest.fixture(scope="module")
def studies() -> dict[str, list[Settings]]:
    """The runs of every study with one of its seeds: a composition takes a tenth of a second."""
    return {name: compose.runs_of([f"+sweeps={name}", "seed=0"]) for name in STUDIES}


def seeds_of(name: str) -> int:
    """How many seeds a study has."""
    params = OmegaConf.load(TOP / f"sweeps/{name}.yaml").hydra.sweeper.params
    given = re.findall(r"\d+", str(params.get("seed", "0")))
    return int(given[0]) if str(params.get("seed")).startswith("range") else len(given)


def head(name: str) -> str:
    """The comment that a study opens with, in one line."""
    lines = (TOP / f"sweeps/{name}.yaml").read_text().splitlines()
    return " ".join(line[2:] for line in takewhile(lambda line: line.startswith("# "), lines))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_opens_with_its_command_and_keeps_its_promise(name: str, studies) -> None:
    opening, asked = head(name), studies[name]
    assert opening.startswith(f"@package _global_ python -m degradation.run +sweeps={name} ")
    assert all(f" {word}: " in opening for word in ("Expect", "Runs", "Time", "Device"))
    assert {s.config.study for s in asked} == {name}
    promised = opening.partition(" Runs: ")[2].partition(" iterations")[0].replace(",", "")
    counts = {int(length): int(n) for n, length in re.findall(r"(\d+) of (\d+)", promised)}
    composed = Counter(s.config.recipe.iterations for s in asked)
    assert {length: n * seeds_of(name) for length, n in composed.items()} == counts
    arms = defaultdict(set)
    for one in asked:
        arms[one.config.pair].add(one.config.arm)
    alone = [pair for pair, there in arms.items() if there != {"plain", "residual"}]
    assert bool(alone) == (" Other arm: " in opening), alone


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("quickstart", {""}),
        ("interventions", {path.stem for path in CONF.glob("intervention/*")} - {"none"} | {""}),
        (
            "shortcut_scale",
            {"alpha=0", "alpha=0.1", "alpha=0.2", "alpha=0.3", "alpha=0.5", "alpha=1"},
        ),
        ("gradients", {"norm=true", "norm=false"}),
        ("identity_init", {"noise=0", "noise=0.1", "noise=0.3", "noise=1"}),
        ("warmup", {"warmup=110", "warmup=none"}),
    ],
)
def test_a_study_names_what_it_varies(name: str, variants: set[str], studies) -> None:
    assert {s.config.variant for s in studies[name]} == variants


LONGER = ["data=digits", "recipe.iterations=2400", "recipe.milestones=[1200,1800]"]


@pytest.mark.parametrize(
    ("name", "words", "count"),
    [
        ("table6", ["depth=110", "seed=range(5)"], 5),
        ("shortcuts", ["data=digits", "cluster=joblib"], 8),
        ("longer", LONGER, 4),
    ],
)
def test_variations_that_the_studies_name(name: str, words: list[str], count: int) -> None:
    """The command line has the last word on axes, data and recipe."""
    assert len(compose.runs_of([f"+sweeps={name}", *words])) == count
    assert all(word in head(name) for word in words)


@pytest.mark.parametrize(
    "path", sorted(CONF.glob("[!h]*/*.yaml")), ids=lambda p: f"{p.parent.name}={p.stem}"
)
def test_every_file_opens_with_its_command(path: Path) -> None:
    head = takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    assert f"{path.parent.name}={path.stem}" in "\n".join(head)


def test_the_files_that_no_study_names_compose() -> None:
    others = ["recipe=imagenet_plateau", "cluster=joblib", "cluster=slurm"]
    for choice in [*others, "numerics=fast", "numerics=fused", "numerics=native"]:
        assert compose.runs_of([choice])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["depth=21"], ["depth=21", "6n+2", "20 and 26"]),
        (["model=plian"], ["model=plian", "plain, residual", "did you mean 'plain'"]),
        (["+sweeps=figur6"], ["figur6", "did you mean 'figure6'"]),
        (["dept=20"], ["dept", "did you mean 'depth'"]),
        (["+dept=20"], ["dept", "did you mean 'depth'"]),
        (["lr=1"], ["lr", "did you mean 'recipe.lr'"]),
        (["dataset=digits"], ["dataset", "did you mean 'data'"]),
        (["sweeps=quickstart"], ["sweeps: not part of", "+sweeps=… adds it"]),
        (["data=digits", "data.crop_size=8"], ["data.crop_size: not part of", "--cfg job"]),
        (["recipe=null"], ["null", "recipe=digits"]),
        (["--config-dir", "/no/such"], ["--config-dir=/no/such: must be a folder"]),
        (["+recipe.lr=1"], ["recipe.lr=1", "+"]),
        (["~recipe.lr"], ["recipe.lr: missing"]),
        (["study=../up"], ["study=../up"]),
        (["depth=20,56"], ["depth=20,56", "--multirun", "depth=[…]"]),
        (["machine.runs='${no_such}'"], ["machine.runs", "no_such"]),
        (["depth=["], ["["]),
        (["-m", "depth=20,21,56"], ["depth=21"]),
        (["-m", "seed=range(0)"], ["no run"]),
        (["--depth", "20", "seed=1"], ["--depth: no such option", ": depth=20 seed=1"]),
        (["--depth=20"], [": depth=20"]),
        (["study=" + "a" * 40], ["WANDB_API_KEY"]),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(words: list[str], says: list[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose.runs_of(words)
    message = str(refusal.value)
    assert all(part in message for part in says), message
    assert len(message.splitlines()) <= 5
    assert "HYDRA_FULL_ERROR" not in message


def test_what_only_shows_the_settings_asks_for_one_composition() -> None:
    """Hydra refuses --cfg beside -m."""
    line = compose.arguments(["-m", "--cfg", "job", "+sweeps=seeds"])
    assert (line.multirun, line.cfg, line.overrides) == (False, "job", ["+sweeps=seeds"])


def test_the_key_of_wandb_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-mine")
    with pytest.raises(ConfigError) as refusal:
        compose.runs_of(["machine.wandb_project=secret-of-mine"])
    assert "secret-of-mine" not in str(refusal.value)


def test_own_configuration_folders_are_searched(tmp_path: Path) -> None:
    for group in ("sweeps", "recipe"):
        (tmp_path / group).mkdir()
    (tmp_path / "recipe/mine.yaml").write_text("defaults: [digits, _self_]\nlr: 0.25\n")
    (tmp_path / "sweeps/mine.yaml").write_text(
        "# @package _global_\n"
        "defaults: [override /data: digits, override /recipe: mine]\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {depth: '8,14'}}}\n"
    )
    asked = compose.runs_of(["--config-dir", str(tmp_path), "+sweeps=mine"])
    assert [(s.config.depth, s.config.recipe.lr) for s in asked] == [(8, 0.25), (14, 0.25)]
