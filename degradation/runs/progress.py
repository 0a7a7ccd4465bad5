"""A run and how far it is, read from the disk; of a finished run two small files are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.config.schema import RunConfig
from degradation.runs import summary
from degradation.runs.columns import row_fault
from degradation.runs.frames import identify
from degradation.runs.run_dir import OUTCOMES, RunDir, RunDirError, runs_in


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
        """Read from the disk. Raises RunDirError and files.StorageError."""
        if (result := run.result()) is not None:
            outcome, last = result["outcome"], result.get("last")
            reason = f"at iteration {result.get('iteration')}" if outcome == "diverged" else ""
            if not isinstance(last, dict) or row_fault(last):
                last = _last_row(run)
            return cls(run, config, outcome, last, reason)
        state = run.state()
        reason = _first_line((run.failure() or {}).get("message")) if state == "failed" else ""
        return cls(run, config, state, _last_row(run), reason)

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
        """`cifar10 residual 56`, with the shortcut where it is a projection, and the variant."""
        c = self.config
        return summary.network(c.data.name, c.arm, c.depth, c.model.shortcut, c.variant)

    @property
    def progress(self) -> str:
        return f"{self.iteration}/{self.config.recipe.iterations}"


def _last_row(run: RunDir) -> dict[str, Any] | None:
    rows = run.rows()
    return rows[-1] if rows else None


def _first_line(message: Any) -> str:
    return next(iter(str(message or "").splitlines()), "no reason was left")[:200]


def of_configs(configs: Iterable[RunConfig], runs: str) -> list[RunProgress]:
    """The progress of the runs of a study, in its order."""
    return [RunProgress.of(RunDir.of(config, runs), config) for config in configs]


def of_folder(runs: str) -> list[RunProgress]:
    """The progress of every run in a folder. Raises RunDirError and files.StorageError."""
    folder = Path(runs).expanduser()
    if folder.exists() and not folder.is_dir():
        raise RunDirError(f"{folder}: must be a folder of runs; give machine.runs=FOLDER")
    return [RunProgress.of(run, run.config()) for run in runs_in(folder)]


def final_errors(runs: Iterable[RunProgress]) -> list[dict[str, Any]]:
    """The last rows of the runs that reached their last iteration, with what identifies each."""
    return [
        identify(p.config) | p.row
        for p in runs
        # A copy of a folder under another name is no second seed.
        if p.state == "done" and p.row and p.run.name == p.config.name
    ]
