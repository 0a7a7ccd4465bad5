"""What a borrowed hour left, made part of the repository: reference curves, rows, benchmark.

    degradation bench collect DIR [--into CHECKOUT]

Finished runs go to analysis/results/, which `python analysis/plot_curves.py analysis/results`
draws; their errors become rows of REPRODUCTION.md, and the benchmark a dated part of BENCHMARKS.md.
Doing it twice changes nothing.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from degradation.bench.hour import copy
from degradation.runs import reference
from degradation.runs.run_dir import RunDir, runs_in
from degradation.system import files
from degradation.system.paths import TOP

RESULTS = Path("analysis/results")
ROWS = "|---|---|---|---|---|--:|--:|--:|---|\n"
DATED = "<!-- the newest first -->\n"


def main(arguments: list[str]) -> int:
    found = argparse.ArgumentParser(
        prog="degradation bench collect", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("dir", type=Path, help="what `bench hour --out` was given")
    found.add_argument("--into", type=Path, default=TOP, help="the checkout")
    asked = found.parse_args(arguments)
    runs = [run for run in runs_in(asked.dir / "runs") if run.result() is not None]
    for run in runs:
        copy(run, asked.into / RESULTS / run.name)
    lines = rows(runs)
    insert(asked.into / "REPRODUCTION.md", ROWS, lines)
    bench = asked.dir / "bench" / "bench.md"
    if bench.exists():
        insert(asked.into / "BENCHMARKS.md", DATED, section(bench, runs))
    benchmark = "the" if bench.exists() else "no"
    print(f"{len(runs)} finished runs are in {asked.into / RESULTS}, {len(lines)} rows in "
          f"REPRODUCTION.md, {benchmark} benchmark in BENCHMARKS.md")  # fmt: skip
    return 0


def rows(runs: list[RunDir]) -> list[str]:
    """A row of REPRODUCTION.md for each network: n seeds, errors, the paper's."""
    groups: dict[tuple[str, str, int, str], list[tuple[RunDir, dict[str, Any]]]] = defaultdict(list)
    for run in runs:
        config, result = run.config(), run.result() or {}
        groups[config.data.name, config.arm, config.depth, config.protocol].append((run, result))
    lines = []
    for (data, arm, depth, _), found in sorted(groups.items(), key=lambda item: item[0]):
        done = [result["last"] for _, result in found if result["outcome"] == "done"]
        diverged = len(found) - len(done)
        start = last_start(found[0][0])
        fingerprint = start["fingerprint"]
        device = fingerprint.get("gpu", fingerprint["device"])
        theirs = [
            reference.errors().get((data, arm, depth, f"{q}_error")) for q in ("train", "test")
        ]
        cells = [
            start["at"][:10], start["commit"], f"{device}, torch {fingerprint['torch']}",
            f"`python -m degradation.run data={data} model={arm} depth={depth}`",
            f"{data} {arm}-{depth}", f"{len(found)}",
            *(spread([row[f"{q}_error"] for row in done]) for q in ("train", "test")),
            ", ".join("–" if t is None else f"{t:.2f}" for t in theirs)
            + (f"; {diverged} of ours diverged" if diverged else ""),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |\n")
    return lines


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    if not values:
        return "–"
    more = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{more}"


def section(bench: Path, runs: list[RunDir]) -> list[str]:
    """A dated part of BENCHMARKS.md."""
    dates = sorted(last_start(run)["at"][:10] for run in runs)
    return [f"\n## {dates[-1] if dates else 'undated'}\n\n{bench.read_text()}"]


def last_start(run: RunDir) -> dict[str, Any]:
    """What the run's last process noted when it started."""
    found: dict[str, Any] = json.loads(run.launches_jsonl.read_text().splitlines()[-1])
    return found


def insert(page: Path, marker: str, lines: list[str]) -> None:
    """Put the lines that `page` lacks behind its `marker`. Raises ValueError without one."""
    text = page.read_text()
    before, found, after = text.partition(marker)
    if not found:
        raise ValueError(f"{page}: has no line {marker.strip()!r} to put results behind")
    new = [line for line in lines if line.strip() not in text]
    files.write_atomically(page, (before + found + "".join(new) + after).encode())
