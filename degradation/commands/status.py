"""Show every run and its state, read from the disk, and the final errors beside the paper's.

    degradation status                               every run in runs/
    degradation status DIR                           every run in DIR
    degradation status +sweeps=figure6               the runs of a study, those not begun too
    degradation status -m model=plain,residual …     likewise

A failed run comes with the last lines of its log and the command that trains it again. Exit status:
0; 1 where a run failed; 2 where something is refused.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from degradation.config import compose, overrides
from degradation.runs import progress, summary
from degradation.runs.progress import RunProgress
from degradation.runs.run_dir import whole_lines
from degradation.system import console

LOG_LINES = 3
MOST_FAILURES = 10  # whose log is shown


def main(arguments: list[str]) -> int:
    """Print the states; the exit status. Raises ConfigError and RunDirError."""
    usage = "degradation status [DIR] [-m] [+sweeps=NAME | KEY=VALUE …]"
    _, rest = console.parser("status", __doc__, usage).parse_known_args(arguments)
    folder, runs = _progress(_with_folder(rest))
    parts = [listing(runs), failures(runs), summary.as_text(progress.final_errors(runs))]
    if not runs:
        parts = [f"no runs in {Path(folder).absolute()}"]
    console.print_line(console.escape_control_chars("\n\n".join(filter(None, parts))))
    return 1 if any(run.state == "failed" for run in runs) else 0


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
    counts = Counter(run.state for run in runs)
    return "\n".join([*map(_line, runs), ", ".join(f"{n} {state}" for state, n in counts.items())])


def _line(run: RunProgress) -> str:
    errors = [run.row[name] if run.row else None for name in ("train_error", "test_error")]
    train, test = ("–" if error is None else f"{error:.2f}" for error in errors)
    percent = f"train {train:>5} %  test {test:>5} %" if run.row else ""
    line = f"{run.state:9} {run.run.name:36} {run.progress:>13}  {percent:30}  {run.reason}"
    return f"{line.rstrip()}  {run.config.variant}".rstrip()


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
