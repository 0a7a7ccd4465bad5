"""Every point's state, read from the disk; the table of a study's errors beside the paper's.

python -m degradation.status                                 every run in runs/
python -m degradation.status machine.runs=DIR                every run in DIR
python -m degradation.status -m model=plain,residual …       the points of a study, missing ones too
python -m degradation.status +sweeps=figure6                 likewise, by name
"""

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation import paper, schema, storage, study
from degradation.spec import Point
from degradation.store import Foreign, Run, runs_in


@dataclass(frozen=True)
class Entry:
    """One point and how far it is."""

    run: Run
    point: Point
    state: str
    row: dict[str, Any] | None
    """Its last row."""

    @classmethod
    def of(cls, run: Run, point: Point) -> "Entry":
        rows = run.rows()
        return cls(run, point, run.state(), rows[-1] if rows else None)

    @property
    def progress(self) -> str:
        done = self.row["iteration"] if self.row else 0
        return f"{done}/{self.point.recipe.iterations}"

    @property
    def reason(self) -> str:
        """Why it failed or diverged, in one line."""
        if self.state == "failed":
            lines = str((self.run.failure() or {}).get("message", "")).splitlines()
            return lines[0][:200] if lines else "no reason is left"
        if self.state == "diverged":
            return f"at iteration {(self.run.result() or {}).get('iteration')}"
        return ""


def of_study(points: Sequence[Point], runs: str) -> list[Entry]:
    """The entries of a study's points, in its order."""
    return [Entry.of(Run.of(point, runs), point) for point in points]


def of_folder(runs: str) -> list[Entry]:
    """The entries of every run in a folder. Raises Foreign; storage.Failed where it is none."""
    storage.check_folder(Path(runs).expanduser())
    return [Entry.of(run, run.point()) for run in runs_in(runs)]


def listing(entries: Sequence[Entry]) -> str:
    """A line a point: state, name, iterations, errors, reason; and a count of the states."""
    lines = []
    for e in entries:
        errors = _errors(e.row) if e.row else ""
        lines.append(
            f"{e.state:9} {e.run.name:36} {e.progress:>13}  {errors:33} {e.reason}".rstrip()
        )
    counts = Counter(e.state for e in entries)
    lines.append(", ".join(f"{n} {state}" for state, n in counts.items()) or "no runs")
    return "\n".join(lines)


def _errors(row: dict[str, Any]) -> str:
    shown = ("–" if row[q] is None else f"{row[q]:6.2f}" for q in ("train_error", "test_error"))
    return "train {} %  test {} %".format(*shown)


def table(entries: Sequence[Entry]) -> str:
    """Final errors by arm and depth, mean ± standard deviation, beside the paper's."""
    cells: dict[tuple[str, str, int, str], list[dict[str, Any]]] = defaultdict(list)
    for e in entries:
        if e.state == "done" and e.row and e.run.name == e.point.name:  # a copy is no second seed
            p = e.point
            cells[p.data.name, p.arm, p.depth, p.model.shortcut].append(e.row)
    if not cells:
        return ""
    lines = [
        f"{'':24} {'n':>2}  {'train error %':>16} {'paper':>6}  {'test error %':>16} {'paper':>6}"
    ]
    for (data, arm, depth, shortcut), rows in sorted(cells.items()):
        name = f"{data} {arm} {depth}" + (f" {shortcut}" if "projection" in shortcut else "")
        values = ""
        for quantity in ("train_error", "test_error"):
            theirs = paper.errors().get((data, arm, depth, quantity))
            shown = "–" if theirs is None else f"{theirs:.2f}"
            values += f"  {spread([row[quantity] for row in rows]):>16} {shown:>6}"
        lines.append(f"{name:24} {len(rows):>2}{values}")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """`6.61 ± 0.16`: mean and sample standard deviation; the bare value where there is one."""
    mean = f"{statistics.fmean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def main(arguments: list[str]) -> int:
    """Print the states; 1 where a point failed, 2 where one can't be read, 5 where no folder is."""
    try:
        asked = study.Line.read(arguments)
        settings = study.settings(asked)
        runs = settings[0].machine.runs
        named = any(not o.startswith("machine.") for o in asked.overrides)
        entries = of_study([s.point for s in settings], runs) if named else of_folder(runs)
        lines = listing(entries) if entries else f"no runs in {Path(runs).absolute()}"
    except (schema.Invalid, Foreign, storage.Failed) as error:
        print(schema.shown(str(error)), file=sys.stderr)
        return 5 if isinstance(error, storage.Failed) else 2
    print(schema.shown(lines))
    if errors := table(entries):
        print(f"\n{errors}")
    return 1 if any(e.state == "failed" for e in entries) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
