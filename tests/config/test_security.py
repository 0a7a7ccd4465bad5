"""What somebody else's file, archive, mirror, configuration, name or link can do: nothing.

No code runs, nothing outside the run and data folders is touched, no secret is written. The attacks
lie in `soak/`, which makes all of them; here each kind is made in its quick form.
"""

import ast
import pickle
import time
from pathlib import Path

import pytest

from degradation.config import guard, study
from degradation.config.study import Line
from degradation.config.validation import ConfigError
from degradation.data import cifar10
from degradation.system.console import shown
from degradation.system.paths import TOP
from degradation.tracking import wandb_api
from tests.reliability import fuzz, secrets
from tests.reliability.attack import MARK, Attack, harm
from tests.reliability.attacks_on_checkpoints import CALLS, _pickled
from tests.reliability.child import Outcome
from tests.reliability.place import Place, asked
from tests.reliability.security import attacks
from tests.reliability.targets import PLACES, TARGETS

ATTACKS = attacks(full=False)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_the_attack_does_no_harm(attack: Attack, tmp_path: Path) -> None:
    assert not harm(attack, tmp_path)


def test_there_are_enough_of_them() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)) >= 150
    assert len(TARGETS) == len(set(TARGETS)) == 36
    assert len(attacks(full=True)) > len(PLACES) * len(TARGETS) + 150


@pytest.mark.parametrize("name", CALLS)
def test_the_pickles_would_do_harm(name: str, tmp_path: Path) -> None:
    """What unpickles them runs their code: the attacks are real."""
    content = _pickled(name)

    def load() -> int:
        try:
            pickle.loads(content)
        except Exception as error:
            print(error)
        return 0

    Place(tmp_path).call(load)
    for _ in range(100):  # a process that was only started takes a moment
        if (tmp_path / MARK).exists():
            return
        time.sleep(0.02)
    pytest.fail("no mark")


def test_harm_is_found(tmp_path: Path) -> None:
    """The judge of the attacks is no rubber stamp."""

    def evil(place: Place) -> Outcome:
        (place.folder / MARK).touch()
        (place.folder / "home" / ".ssh" / "id").write_text("mine")
        return Outcome(139, "Traceback\x1b[2J", 99.0)

    found = "\n".join(harm(Attack("x", "x", evil), tmp_path))
    for part in (
        "code was run",
        "outside was touched",
        "status 139",
        "a traceback",
        "control",
        "99 seconds",
    ):
        assert part in found


def test_five_hundred_mutated_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    outcome = fuzz.read_all(500, 0, tmp_path)
    assert outcome.status == 0, outcome.text


def test_no_secret_is_written_and_nothing_for_others_to_write(tmp_path: Path) -> None:
    assert not secrets.leaks(tmp_path, "machine.wandb=offline")


@pytest.mark.parametrize(
    "word",
    [
        "machine.wandb_key={}",
        "+key={}",
        "++api_key={}",
        "wandb.token={}",
        "--password={}",
        "TOKEN={}",
        "machine.wandb_api_key='{}'",
        "~secret={}",
        "+aws.credentials=[{}]",
        "key={}[",
        "+a/key@b={}",
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(word: str) -> None:
    with pytest.raises(ConfigError, match="WANDB_API_KEY") as refusal:
        Line.read([word.format(secrets.CANARY)])
    assert secrets.CANARY not in str(refusal.value)


def test_a_secret_of_the_environment_is_not_in_what_wandb_complains_of(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", secrets.CANARY)
    assert secrets.CANARY not in wandb_api.in_a_line(ValueError(f"key {secrets.CANARY}\nmore"))


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.verbose=true"],
        ["hydra/job_logging=default"],
        ["hydra/job_logging=stdout"],
        ["hydra/job_logging=none", "hydra/hydra_logging=default"],
        ["hydra/job_logging=disabled", "hydra/hydra_logging=disabled"],
        ["hydra.job_logging.root.level=DEBUG"],
        ["hydra.verbose=[hydra,degradation]"],
        ["-m", "cluster=joblib", "depth=8,14"],
        ["-m", "hydra/launcher=joblib", "seed=0,1"],
        ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "seed=0,1"],
        ["+sweeps=quickstart"],
        ["machine.runs=${oc.env:HOME}/runs"],
        ["machine.runs=${oc.env:SLURM_TMPDIR,/tmp}/runs"],
        ["machine.runs=${study}/runs"],
    ],
    ids=" ".join,
)
def test_ordinary_uses_are_let_through(words: list[str]) -> None:
    assert asked(*words)


def test_a_command_of_a_launcher_may_be_typed_and_not_come_from_a_file() -> None:
    from omegaconf import OmegaConf
    from soak.attacks_by_config import _hydra

    slurm = {
        "_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "submitit_folder": "${hydra.sweep.dir}/.submitit/%j",
        "partition": "gpu",
        "mem_gb": 8,
        "setup": ["module load cuda"],
    }
    part = OmegaConf.create(_hydra() | {"launcher": slurm})
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.setup.*command line"):
        guard.check(part)
    guard.check(part, ["hydra.launcher.setup"])


def test_own_files_still_work(tmp_path: Path) -> None:
    """A study, a cluster and a recipe of one's own, with a BOM as some editors write it."""
    for name, content in {
        "sweeps/mine.yaml": "# @package _global_\ndefaults: [override /data: digits, "
        "override /recipe: mine]\nhydra: {mode: MULTIRUN, sweeper: {params: {depth: '8,14'}}}\n",
        "cluster/four.yaml": "# @package _global_\ndefaults: [override /hydra/launcher: joblib]\n"
        "hydra: {launcher: {n_jobs: 4, pre_dispatch: 2*n_jobs}}\n",
        "recipe/mine.yaml": "\ufeff" + (TOP / "conf/recipe/digits.yaml").read_text(),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    line = Line.read(["--config-dir", str(tmp_path), "+sweeps=mine", "cluster=four"])
    assert [s.config.depth for s in study.settings(line)] == [8, 14]


def test_mirrors_are_reached_in_private() -> None:
    assert all(url.startswith("https://") for url in cifar10.MIRRORS)


def test_shown_text_is_visible() -> None:
    assert shown("a\x1b[2J\nb\u202e\ud800é") == "a\\x1b[2J\nb\\u202e\\ud800é"


# The code itself

SOURCES = [*sorted((TOP / "degradation").rglob("*.py")), *sorted((TOP / "analysis").glob("*.py"))]
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "joblib",
    "pty",
    "runpy",
    "code",
    "codeop",
}
CALLS_OF_NOTHING = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    "extractall",
    "extract",
    "unpack_archive",
    "read_pickle",
    "to_pickle",
    "system",
    "popen",
    "unsafe_load",
    "full_load",
    "load_module",
    "allow_pickle",
    "instantiate",
}
OF_A_MODULE = {
    ("torch", "load"),
    ("torch", "save"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("np", "load"),
    ("pd", "eval"),
}


def offences(source: str) -> list[str]:
    """What a source does that would let data become code, or a file leave its place."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            names |= (
                {f"{node.module}", *(f"{node.module}.{n}" for n in names)}
                if isinstance(node, ast.ImportFrom)
                else set()
            )
            roots = (
                {name.partition(".")[0] for name in names}
                if isinstance(node, ast.Import)
                else {str(getattr(node, "module", "")).partition(".")[0]}
            )
            found += [f"line {node.lineno}: import {m}" for m in roots & MODULES]
            found += [f"line {node.lineno}: {n}" for n in names if n.endswith(".instantiate")]
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in ATTRIBUTES or (owner, node.attr) in OF_A_MODULE:
                found.append(f"line {node.lineno}: {owner}.{node.attr}")
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS_OF_NOTHING:
                found.append(f"line {node.lineno}: {node.func.id}()")
            for keyword in node.keywords:
                false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg == "shell" and not false:
                    found.append(f"line {node.lineno}: shell=")
                if keyword.arg == "allow_pickle" and not false:
                    found.append(f"line {node.lineno}: allow_pickle=")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_data_becomes_code(path: Path) -> None:
    assert offences(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "import shelve as s",
        "eval('1')",
        "exec('1')",
        "tar.extractall()",
        "shutil.unpack_archive('x')",
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "yaml.load(x, Loader=y)",
        "np.load(x, allow_pickle=True)",
        "from hydra.utils import instantiate",
        "hydra.utils.instantiate(x)",
        "import marshal",
        "pd.read_pickle('x')",
    ],
)
def test_the_lint_sees_it(source: str) -> None:
    assert offences(source)


WRITERS = {
    "write_text",
    "write_bytes",
    "unlink",
    "rmdir",
    "truncate",
    "fsync",
    "to_csv",
    "symlink_to",
    "hardlink_to",
    "touch",
    "chmod",
    "mkdir",
}


def writes(source: str) -> list[str]:
    """Where a source writes by itself; `to_csv` without a path gives text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open":
            found.append(f"line {node.lineno}: open()")
        if isinstance(function, ast.Attribute):
            ours = isinstance(function.value, ast.Name) and function.value.id == "storage"
            opens = function.attr == "open" and node.args and "w" in ast.unparse(node.args[0])
            text = function.attr == "to_csv" and not node.args
            replaces = (
                function.attr == "replace"
                and len(node.args) == 1
                and not (
                    isinstance(function.value, ast.Name) and function.value.id == "dataclasses"
                )
            )
            moves = function.attr == "rename" and not node.keywords  # a frame's has columns=
            if not ours and not text and (function.attr in WRITERS or opens or replaces or moves):
                found.append(f"line {node.lineno}: {function.attr}()")
    return found


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if p.name != "storage.py"],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_bytes_are_written_by_storage_alone(path: Path) -> None:
    assert writes(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "open('x', 'w')",
        "path.open('w')",
        "path.write_text('x')",
        "frame.to_csv('x')",
        "path.replace(x)",
        "path.mkdir()",
        "os.rename(a, b)",
    ],
)
def test_the_lint_sees_it_write(source: str) -> None:
    assert writes(source)
