"""The shape of the code: imports go one way, bytes are written in one place, nothing unpickles."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.places import TOP

# A module imports from earlier lines alone.
LEVELS = [
    {"schema", "places", "signals", "screen", "bench", "bench.clock"},
    {"spec", "storage", "paper", "provenance"},
    {"layers", "optim", "machine", "pool", "step", "data.order", "data.pictures", "bench.roof"},
    {"network", "data.download", "data.digits", "store", "checkpoint", "bench.probes"},
    {"data.cifar10", "data.batches", "layerwise", "state", "weights"},
    {"data", "engine", "grow", "recorder", "mirror", "bench.practice"},
    {"train", "launch", "study"},
    {"worker", "status", "probe", "onset", "bench.contest", "bench.hour"},
    {"run", "bench.costs", "bench.collect"},
    {"bench.table"},
    {"bench.__main__"},
]
MODULES = {
    ".".join(path.relative_to(TOP / "degradation").with_suffix("").parts).removesuffix(".__init__"):
    path for path in sorted((TOP / "degradation").rglob("*.py"))
}  # fmt: skip
SOURCES = [*MODULES.values(), *sorted((TOP / "analysis").glob("*.py"))]


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, by the names of LEVELS."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("degradation"):
            base = (node.module or "").removeprefix("degradation").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES else base)
    return found - {""}


def test_every_module_has_its_level() -> None:
    assert set().union(*LEVELS) == set(MODULES) - {"__init__"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__"}))
def test_imports_go_one_way(name: str) -> None:
    level = next(i for i, names in enumerate(LEVELS) if name in names)
    below = set().union(*LEVELS[:level])
    assert imported(MODULES[name]) <= below


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("degradation.run", ["torch", "pandas", "wandb", "sklearn"]),
        ("degradation.status", ["torch", "pandas", "wandb"]),
        ("degradation.store", ["torch", "pandas", "hydra"]),
        ("degradation.onset", ["torch", "pandas", "wandb"]),
        ("plot_curves", ["torch", "wandb", "hydra"]),
        ("degradation.worker", ["wandb", "hydra", "pandas"]),
    ],
)
def test_what_a_command_does_not_load(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=TOP / "analysis",
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_analysis_uses_spec_and_store_alone() -> None:
    for path in (TOP / "analysis").glob("*.py"):
        assert imported(path) <= {"spec", "store", "places"}, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_nothing_unpickles_or_extracts(path: Path) -> None:
    """No pickle, no torch.load or torch.save, no archive extraction, anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"extractall", "extract", "unpack_archive", "read_pickle"}
            is_torch = isinstance(node.value, ast.Name) and node.value.id == "torch"
            assert not (is_torch and node.attr in {"load", "save"})


WRITES = {"write_text", "write_bytes", "replace", "rename", "unlink", "truncate", "fsync"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"storage"}))
def test_bytes_are_written_by_storage_alone(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open":
            pytest.fail(f"line {node.lineno}: open()")
        if isinstance(function, ast.Attribute):
            owner = function.value.id if isinstance(function.value, ast.Name) else ""
            text = owner in {"dataclasses", "message", "line"}  # str.replace, dataclasses.replace
            if function.attr in WRITES and not text and owner != "storage":
                pytest.fail(f"line {node.lineno}: {owner}.{function.attr}()")
            if function.attr == "open" and node.args and "w" in ast.unparse(node.args[0]):
                pytest.fail(f"line {node.lineno}: opened to write")
