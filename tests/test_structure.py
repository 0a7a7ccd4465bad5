"""The shape of the code: imports go one way. What it must not do is in `test_security.py`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.places import TOP

# A module imports from earlier lines alone.
LEVELS = [
    {"schema", "places", "signals", "bench", "bench.clock"},
    {"design"},
    {"spec", "storage", "paper", "provenance", "screen", "guard", "config_dir"},
    {"layers", "optim", "pool", "names", "remote", "gpus", "peers"},
    {"native.library"},
    {"machine", "ranks", "blocks", "native.convolution", "native.normalisation"},
    {"native"},
    {"step"},
    {"data.order", "data.pictures", "data.spread", "bench.roof"},
    {"network", "store", "checkpoint", "estimate", "hydra_errors", "compose", "bench.probes"},
    {"data.download", "data.digits", "data.decode", "data.folder"},
    {"data.cifar10", "data.batches", "layerwise", "state", "weights", "logged", "entries"},
    {"data.colour"},
    {"data.prepare"},
    {"data.imagenet"},
    {"data.loader"},
    {"data", "data.feed", "recorder", "mirror", "board", "fetch", "panels", "bench.practice"},
    {"engine", "grow", "crops"},
    {"train", "follow", "study"},
    {"begin"},
    {"launch", "worker", "command", "probe", "bench.contest"},
    {"status", "doctor", "evaluate", "onset", "requeue", "trial", "bench.costs", "bench.hour"},
    {"bench.photographs"},
    {"plan", "preview", "sweep", "bench.collect"},
    {"run", "dashboard", "bench.table"},
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
        ("degradation.doctor", ["torch", "pandas", "wandb"]),
        ("degradation.plan", ["torch", "pandas", "wandb", "sklearn"]),
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


def test_analysis_uses_spec_and_store_and_writes_in_one_place() -> None:
    for path in (TOP / "analysis").glob("*.py"):
        extra = {"output": {"storage"}, "plot_curves": {"fetch", "screen"}}  # the latter: --wandb
        assert imported(path) <= {"spec", "store", "places"} | extra.get(path.stem, set()), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_wandb_is_imported_in_one_place(path: Path) -> None:
    """Its dashboards, which are another package, in another one."""
    own = {"remote": {"wandb"}, "dashboard": {"wandb_workspaces"}}.get(path.stem, set())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            heads = {name.split(".")[0] for name in names}
            assert heads & {"wandb", "wandb_workspaces"} <= own, path
