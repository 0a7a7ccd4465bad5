"""Files that people write for `--config-dir`: catalogue C4, C8, C12, C13, Z7."""

import functools

from hydra.core.config_store import ConfigStore

from .child import NOBODY, Outcome, can_drop_root
from .fault import Fault
from .place import Place

RECIPE = """\
iterations: 400
batch: 128
lr: 0.05
drops: [200, 300]
drop_factor: 0.1
momentum: 0.9
nesterov: false
weight_decay: 0.0001
decay_norm: true
init: fan_in
warmup_min_depth: 110
warmup_lr: 0.005
warmup_error: 80
warmup_window: 10
eval_every: 25
"""
LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 20)
)


def _mine(content: str | bytes, place: Place) -> Outcome:
    place.write("own/recipe/mine.yaml", content)
    return place.run("--config-dir=own", "data=digits", "recipe=mine")


def _unreadable(place: Place) -> Outcome:
    place.write("own/recipe/mine.yaml", RECIPE).chmod(0)
    place.user = NOBODY if can_drop_root() else None
    place.folder.chmod(0o755)
    return place.run("--config-dir=own", "data=digits", "recipe=mine")


def _folder(place: Place) -> Outcome:
    (place.folder / "own/recipe/mine.yaml").mkdir(parents=True)
    return place.run("--config-dir=own", "data=digits", "recipe=mine")


def _shadowed(place: Place) -> Outcome:
    place.write("own/recipe/digits.yaml", RECIPE)
    return place.run("--config-dir=own", "data=digits")


def _study(content: str, place: Place) -> Outcome:
    place.write("own/sweeps/mine.yaml", f"# @package _global_\n{content}")
    return place.run("--config-dir=own", "+sweeps=mine")


def _uninstalled(words: tuple[str, ...], place: Place) -> Outcome:
    """As if the joblib launcher had not been installed."""
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    place.changes.append(lambda: launchers.pop("joblib.yaml"))
    return place.run(*words)


def recipe(id: str, what: str, content: str | bytes, *says: str) -> Fault:
    """A recipe of one's own that can't be used."""
    return Fault(id, f"recipe: {what}", functools.partial(_mine, content), says, touches=False)


def study(id: str, what: str, content: str, *says: str) -> Fault:
    """A study of one's own that can't be used."""
    return Fault(id, f"study: {what}", functools.partial(_study, content), says, touches=False)


FAULTS: list[Fault] = [
    recipe(
        "C12",
        "no colon",
        "iterations: 5\nbatch 3\nlr: 1\n",
        "mine.yaml, line 3, column 1",
        "expected ':'",
    ),
    recipe("C12", "a tab", "iterations: 5\nx:\n\ty: 3\n", "mine.yaml, line 3, column 1", "tab"),
    recipe(
        "C12",
        "a key twice",
        "lr: 1\nbatch: 2\nlr: 3\n",
        "mine.yaml, line 3, column 1",
        "lr is there twice",
    ),
    recipe("C12", "an open bracket", "drops: [1, 2\nlr: 3\n", "mine.yaml, line 2"),
    recipe("C12", "an open quote", "init: 'fan\n", "mine.yaml, line"),
    recipe(
        "C12",
        "Latin 1",
        "# für alle\nlr: 1\n".encode("latin-1"),
        "mine.yaml, line 1",
        "byte 0xfc is not UTF-8",
        "save it as UTF-8",
    ),
    recipe("C12", "UTF-16", RECIPE.encode("utf-16"), "mine.yaml, line 1", "not UTF-8"),
    recipe("C12", "a NUL", RECIPE.encode() + b"\x00", "mine.yaml", "remove that character"),
    recipe("C12", "an unknown tag", RECIPE + "x: !!python/name:os.system\n", "mine.yaml"),
    recipe("C12", "aliases of aliases", LAUGHS, "mine.yaml", "aliases", "at most 20,000"),
    recipe("C12", "an alias of itself", "a: &a [*a]\n", "mine.yaml, line 1", "holds itself"),
    recipe("C12", "nested too deep", "a: " + "[" * 5000 + "]" * 5000, "mine.yaml", "too deep"),
    recipe(
        "C12", "too large", "# " + "x" * 200_000 + "\n" + RECIPE, "mine.yaml", "at most 100,000"
    ),
    recipe("C12", "a list", "- 1\n- 2\n", "recipe=[1, 2]", "a group of keys"),
    recipe("C12", "empty", "", "recipe.iterations: missing", "give it as recipe.iterations=…"),
    recipe("C4", "a key too many", RECIPE + "lrr: 1\n", "recipe.lrr", "did you mean 'lr'"),
    recipe("C4", "a key too few", RECIPE.replace("lr: 0.05\n", ""), "recipe.lr: missing"),
    recipe(
        "C5", "a word for a number", RECIPE.replace("0.05", "fast"), "recipe.lr='fast'", "a number"
    ),
    recipe(
        "C5",
        "drops beyond the end",
        RECIPE.replace("200, 300", "200, 500"),
        "recipe.milestones=[200, 500]",
        "recipe.iterations=400",
    ),
    recipe("C8", "???", RECIPE.replace("0.05", "???"), "recipe.lr", "Missing", "give it as"),
    recipe("C8", "no such interpolation", RECIPE.replace("0.05", "${lr}"), "recipe.lr", "'lr'"),
    recipe(
        "C8",
        "a secret",
        RECIPE.replace("fan_in", "${oc.env:AWS_KEY}"),
        "recipe.init",
        "AWS_KEY",
        "allowed: HOME",
    ),
    recipe("C8", "a resolver that isn't", RECIPE.replace("0.05", "${run:x}"), "recipe.lr", "run"),
    recipe(
        "Z7", "_target_", RECIPE + "_target_: os.system\n", "recipe._target_", "no such setting"
    ),
    recipe("Z7", "another package", "# @package hydra.job\n" + RECIPE, "mine"),
    Fault(
        "C12",
        "a file that can't be read",
        _unreadable,
        ("mine.yaml", "Permission denied", "let"),
        touches=False,
    ),
    Fault("C12", "a folder for a file", _folder, ("mine.yaml", "Is a directory"), touches=False),
    Fault(
        "C12", "a name of ours", _shadowed, ("recipe/digits.yaml", "rename yours"), touches=False
    ),
    study(
        "C4",
        "an unknown axis",
        "hydra: {mode: MULTIRUN, sweeper: {params: {dept: '8,14'}}}\n",
        "dept",
        "did you mean 'depth'",
    ),
    study(
        "C3",
        "an unknown choice",
        "hydra: {mode: MULTIRUN, sweeper: {params: {model: 'plain,resnet'}}}\n",
        "model=resnet",
        "plain, residual",
    ),
    study(
        "C1",
        "a bad depth",
        "hydra: {mode: MULTIRUN, sweeper: {params: {depth: '8,9'}}}\n",
        "depth=9",
        "nearest 8 and 14",
    ),
    study(
        "C5",
        "an axis that is a list",
        "hydra: {mode: MULTIRUN, sweeper: {params: {depth: [8, 14]}}}\n",
        "depth",
    ),
    study(
        "C3",
        "a file that isn't there",
        "defaults:\n  - override /data: mnist\n",
        "mnist",
        "cifar10, digits",
    ),
    *(
        Fault(
            "C3",
            f"{' '.join(words)}, not installed",
            functools.partial(_uninstalled, words),
            ("cluster=joblib", "not installed", "pip install 'degradation[joblib]'"),
            touches=False,
        )
        for words in (
            ("-m", "cluster=joblib", "seed=0,1"),
            ("-m", "hydra/launcher=joblib", "seed=0,1"),
            ("+sweeps=quickstart",),
        )
    ),
    study(
        "Z7",
        "a callback",
        "hydra: {callbacks: {x: {_target_: os.system}}}\n",
        "hydra.callbacks",
        "must stay",
    ),
]
