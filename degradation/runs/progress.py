"""A run and how far it is, read from the disk; thousands of them in seconds.

Of a finished run two small files are read, of another one the end of its curves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.config import validation
from degradation.config.schema import RunConfig
from degradation.runs.run_dir import (
    OUTCOMES,
    STATES,
    RunDir,
    row_fault,
    runs_in,
)
from degradation.system import console, files


@dataclass(frozen=True)
class RunProgress:
    """One run and how far it is."""

    run: RunDir
    config: RunConfig
    state: str
    row: dict[str, Any] | None
    """Its last row."""
    reason: str
    """Why it failed or diverged, in one line."""

    @classmethod
    def of(cls, run: RunDir, config: RunConfig) -> "RunProgress":
        """Read from the disk: of what has its result, two small files. Raises RunDirError."""
        if (result := run.result()) is not None:
            outcome, last = result["outcome"], result.get("last")
            why = f"at iteration {result.get('iteration')}" if outcome == "diverged" else ""
            sound = isinstance(last, dict) and not row_fault(last)
            return cls(run, config, outcome, last if sound else run.last_row(), why)
        state = run.state()
        why = _first_line((run.failure() or {}).get("message")) if state == "failed" else ""
        return cls(run, config, state, None if state == "missing" else run.last_row(), why)

    @property
    def finished(self) -> bool:
        """Whether it has its result."""
        return self.state in OUTCOMES

    @property
    def iteration(self) -> int:
        """The iteration of the last row."""
        return self.row["iteration"] if self.row else 0

    @property
    def network(self) -> str:
        """`cifar10 residual 56`, with the shortcut where it is a projection."""
        config, shortcut = self.config, self.config.model.shortcut
        named = f" {shortcut}" if "projection" in shortcut else ""
        return f"{config.data.name} {config.arm} {config.depth}{named}"

    @property
    def progress(self) -> str:
        return f"{self.iteration}/{self.config.recipe.iterations}"


def _first_line(message: Any) -> str:
    return next(iter(str(message or "").splitlines()), "no reason is left")[:200]


def of_configs(configs: Iterable[RunConfig], runs: str) -> list[RunProgress]:
    """The entries of a study's points, in its order."""
    return [RunProgress.of(RunDir.of(config, runs), config) for config in configs]


def of_folder(runs: str) -> list[RunProgress]:
    """The entries of every run in a folder. Raises RunDirError; files.StorageError where it is none."""
    files.check_folder(Path(runs).expanduser())
    return [RunProgress.of(run, run.config()) for run in runs_in(runs)]


KEYS: dict[str, Callable[[RunProgress], object]] = {
    "state": lambda e: e.state,
    "data": lambda e: e.config.data.name,
    "arm": lambda e: e.config.arm,
    "depth": lambda e: e.config.depth,
    "seed": lambda e: e.config.seed,
    "shortcut": lambda e: e.config.model.shortcut,
}
"""What `--only` may name."""


def only(entries: Sequence[RunProgress], wanted: Sequence[str]) -> list[RunProgress]:
    """The entries that have one of the VALUES of every KEY=VALUES. Raises ConfigError."""
    conditions = [_condition(one) for one in wanted]
    return [e for e in entries if all(str(KEYS[key](e)) in values for key, values in conditions)]


def _condition(text: str) -> tuple[str, set[str]]:
    key, equals, values = text.partition("=")
    if key not in KEYS or not equals:
        hint = console.did_you_mean(key, KEYS)
        raise validation.ConfigError(f"--only {text}: must be KEY=VALUE,… with a KEY of "
                             f"{', '.join(KEYS)}{hint}")  # fmt: skip
    found = set(values.split(","))
    if key == "state" and (unknown := found - {*STATES}):
        hint = console.did_you_mean(min(unknown), STATES)
        raise validation.ConfigError(f"--only {text}: must be of {', '.join(STATES)}{hint}")
    return key, found
