"""The shape of the code: a room imports from the rooms before it alone, and starts quickly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.system.paths import TOP

# Rooms of one tuple don't know of each other.
DEGRADATION = [
    ("system",),
    ("config",),
    ("models", "data", "runs"),
    ("training", "tracking"),
    ("evaluation", "launch"),
    ("commands", "bench"),
    ("run", "__main__"),
]
ANALYSIS = [
    ("frames",),
    ("stats",),
    ("plots",),
    ("why",),
    ("page",),
    ("plot_curves", "verdict", "report"),
]
OF_ANALYSIS = {"system", "config", "runs"}
MOST_MODULES = 10


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith(("degradation.", "analysis."))}


def sources(package: str) -> list[Path]:
    return sorted((TOP / package).rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(TOP).with_suffix("").parts[1]


@pytest.mark.parametrize(
    ("package", "rooms"), [("degradation", DEGRADATION), ("analysis", ANALYSIS)]
)
def test_imports_go_one_way(package: str, rooms: list[tuple[str, ...]]) -> None:
    level = {name: number for number, names in enumerate(rooms) for name in names}
    for path in sources(package):
        if path == TOP / package / "__init__.py":
            continue
        own = room(path)
        for name in imported(path):
            head, other = name.split(".")[:2]
            if head == package and other != own:
                assert level[other] < level[own], f"{path} imports {name}"


@pytest.mark.parametrize("package", ["degradation", "analysis", "tests"])
def test_a_room_is_small_and_says_its_idea(package: str) -> None:
    for init in (TOP / package).rglob("__init__.py"):
        modules = [p for p in init.parent.glob("*.py") if p != init]
        assert len(modules) <= MOST_MODULES, init.parent
        holds = len(ast.parse(init.read_text()).body)
        assert holds == 1 or package == "tests", f"{init} holds more than a sentence"


def test_analysis_needs_no_training() -> None:
    for path in sources("analysis"):
        rooms = {n.split(".")[1] for n in imported(path) if n.startswith("degradation.")}
        extra = {"tracking"} if path.stem == "plot_curves" else set()  # --wandb
        assert rooms <= OF_ANALYSIS | extra, path


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("degradation.run", ["torch", "pandas", "wandb", "sklearn"]),
        ("degradation.commands.status", ["torch", "pandas", "wandb"]),
        ("degradation.commands.doctor", ["torch", "pandas", "wandb"]),
        ("degradation.commands.plan", ["torch", "pandas", "wandb", "sklearn"]),
        ("degradation.runs.run_dir", ["torch", "pandas", "hydra"]),
        ("analysis.plot_curves", ["torch", "wandb", "hydra"]),
        ("degradation.training.worker", ["wandb", "hydra", "pandas", "triton"]),
    ],
)
def test_what_a_command_does_not_load(module: str, absent: list[str]) -> None:
    code = f"import sys, {module}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
