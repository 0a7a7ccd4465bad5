"""The wheel and the sdist: everything a user needs, outside the checkout, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from degradation.system.paths import TOP
from tests.commands.conftest import environment

pytestmark = pytest.mark.slow


def sources(copy: Path) -> Path:
    """A copy of what is under version control."""
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=TOP, text=True, capture_output=True, check=True).stdout
    for name in names.splitlines():
        if (TOP / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((TOP / name).read_bytes())
    return copy


def build(source: Path, folder: Path, kind: str) -> Path:
    """Built by setuptools, without network."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools")
    if not (TOP / ".git").exists():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("wheel")
    return build(sources(folder / "copy"), folder, "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; what that needs is borrowed from ours."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    pip += ["-q", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, env=environment(folder, "PYTHON"))
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(ours) + "\n")
    return folder


def call(installed: Path, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of the environment in `folder`, which is no checkout."""
    own = environment(folder, "PYTHON")
    own["PATH"] = f"{installed / 'bin'}:{own['PATH']}"
    command = ["bash", "-c", '"$@"', "bash", *words]  # finds the program by this PATH
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=120)


def test_the_wheel_has_every_module_and_every_file_of_settings(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    code = [p for kind in ("*.py", "*.c") for p in (TOP / "degradation").rglob(kind)]
    wanted = {str(path.relative_to(TOP)) for path in code}
    for folder, place in (("conf", "degradation/conf"), ("sweeps", "degradation/conf/sweeps")):
        paths = (TOP / folder).rglob("*.yaml")
        wanted |= {f"{place}/{path.relative_to(TOP / folder)}" for path in paths}
    wanted |= {"hydra_plugins/study_sweeper/__init__.py", "degradation/paper_tables/errors.csv"}
    assert wanted - there == set()
    assert not [name for name in there if name.startswith(("tests", "docs", "conf", "sweeps"))]


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build(sources(tmp_path / "copy"), tmp_path, "sdist")) as tar:
        tar.extractall(tmp_path / "sdist", filter="data")
    [source] = (tmp_path / "sdist").iterdir()
    again = zipfile.ZipFile(build(source, tmp_path, "wheel"))
    assert set(again.namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_a_study_by_name_from_another_folder(installed: Path, tmp_path: Path) -> None:
    small = ["model=plain", "depth=8", "model.width=4", "recipe.iterations=4", "cluster=serial"]
    small += ["recipe.milestones=[]", "machine.wandb=disabled", "machine.device=cpu"]
    where = call(installed, tmp_path, "python", "-c", "import degradation as d; print(d.__file__)")
    assert str(installed) in where.stdout, where.stderr
    done = call(installed, tmp_path, "degradation", "+sweeps=quickstart", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digits plain 8" in done.stdout
    planned = call(installed, tmp_path, "degradation", "plan", "+sweeps=figure6", "--no-probe")
    assert planned.returncode == 0 and "cifar10 residual 110" in planned.stdout
    told = call(installed, tmp_path, "degradation", "status")
    assert "1 done" in told.stdout, told.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("degradation model=", ["model=plain", "model=residual"]),
        ("degradation +sweeps=fig", ["+sweeps=figure1", "+sweeps=figure4", "+sweeps=figure6"]),
        ("degradation recipe.it", ["recipe.iterations="]),
        ("degradation cluster=s", ["cluster=serial", "cluster=slurm"]),
    ],
)
def test_tab_completion(installed: Path, tmp_path: Path, typed: str, offered: list[str]) -> None:
    """As bash asks for it: through the function that `-sc install=bash` defines."""
    script = (
        'eval "$(degradation -sc install=bash)"\n'
        f"COMP_LINE={typed!r}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({typed}); COMP_CWORD=1\n"
        'hydra_bash_completion; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = call(installed, tmp_path, "bash", "-c", script)
    assert done.stdout.split() == offered, done.stderr
