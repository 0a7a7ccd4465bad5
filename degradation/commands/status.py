"""Show every run and its state, read from the disk, and the final errors beside the paper's.

    degradation status                               every run in runs/
    degradation status DIR                           every run in DIR
    degradation status +sweeps=figure6               the runs of a study, those not begun too
    degradation status -m model=plain,residual …     likewise
    degradation status --only state=failed,partial   those alone; more than one --only: all hold

A failed run comes with the last lines of its log and the command that trains it again. Exit status:
0; 1 where a run failed; 2 where something is refused.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from degradation.config import compose, overrides
from degradation.runs import progress, summary
from degradation.runs.progress import KEYS, RunProgress
from degradation.runs.run_dir import STATES, whole_lines
from degradation.system import console

LOG_LINES = 3
MOST_FAILURES = 10  # whose log is shown


def main(arguments: list[str]) -> int:
    """Print the states; the exit status. Raises ConfigError and RunDirError."""
    options, rest = _parser().parse_known_args(arguments)
    folder, all_runs = _progress(_with_folder(rest))
    runs = progress.filter_runs(all_runs, options.only)
    parts = [f"no such runs in {Path(folder).absolute()}"]
    if runs:
        parts = [
            brief(runs) if options.brief else listing(runs),
            failures(runs),
            summary.as_text(progress.final_errors(runs)),
        ]
    console.print_line(console.escape_control_chars("\n\n".join(filter(None, parts))))
    return 1 if any(run.state == "failed" for run in runs) else 0


def _parser() -> argparse.ArgumentParser:
    usage = "degradation status [DIR] [--only KEY=VALUE,…] [--brief] [-m] [+sweeps=NAME | …]"
    parser = console.parser("status", __doc__, usage)
    add, keys = parser.add_argument, ", ".join(KEYS)
    add("--only", action="append", default=[], metavar="KEY=VALUE,…", help=f"KEY is one of {keys}")
    add("--brief", action="store_true", help="a line a network, not one a run")
    return parser


def _with_folder(words: list[str]) -> list[str]:
    """The words with a first one that names a folder as Hydra reads it."""
    if not words or "=" in words[0] or words[0].startswith(("-", "+", "~")):
        return words
    return [*words[1:], f"machine.runs={overrides.written(words[0])}"]


def _progress(words: list[str]) -> tuple[str, list[RunProgress]]:
    """The folder, and in it the runs of a study, or all runs where `words` name no study."""
    settings = compose.runs_of(words)
    runs = settings[0].machine.runs
    if all(word.startswith("machine.") for word in compose.arguments(words).overrides):
        return runs, progress.of_folder(runs)
    return runs, progress.of_configs([s.config for s in settings], runs)


def listing(runs: Sequence[RunProgress]) -> str:
    """A line a run: state, name, what it varies, iterations, errors, reason; then the counts."""
    return "\n".join([*map(_line, runs), _counts(runs)])


def _line(run: RunProgress) -> str:
    errors = [run.row[name] if run.row else None for name in ("train_error", "test_error")]
    train, test = ("–" if error is None else f"{error:.2f}" for error in errors)
    percent = f"train {train:>5} %  test {test:>5} %" if run.row else ""
    line = f"{run.state:9} {run.run.name:36} {run.progress:>13}  {percent:30}  {run.reason}"
    return f"{line.rstrip()}  {run.config.variant}".rstrip()


def _counts(runs: Sequence[RunProgress]) -> str:
    """`7 done, 1 failed`."""
    return ", ".join(f"{n} {state}" for state, n in Counter(run.state for run in runs).items())


def brief(runs: Sequence[RunProgress]) -> str:
    """A line a network: how many of its runs are in which state."""
    networks: dict[str, Counter[str]] = defaultdict(Counter)
    for run in runs:
        networks[run.network][run.state] += 1
    columns = [state for state in STATES if any(states[state] for states in networks.values())]
    lines = [" " * 30 + "".join(f"{state:>10}" for state in columns)]
    for name, states in networks.items():
        lines.append(f"{name:30}" + "".join(f"{states[state] or '–':>10}" for state in columns))
    return "\n".join([*lines, _counts(runs)])


def failures(runs: Sequence[RunProgress]) -> str:
    """Of each failed run: the last lines of its log, and the command that trains it again."""
    failed = [run for run in runs if run.state == "failed"]
    parts = []
    for run in failed[:MOST_FAILURES]:
        log = whole_lines(run.run.log)[-LOG_LINES:]
        again = overrides.command(run.config, str(run.run.folder.parent))
        head = f"{run.run.name} failed: {run.reason}"
        parts.append("\n".join([head, *(f"    {line}" for line in log), f"  {again}"]))
    if len(failed) > MOST_FAILURES:
        parts.append(f"and {len(failed) - MOST_FAILURES} more failed")
    return "\n\n".join(parts)
