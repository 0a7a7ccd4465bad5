"""A run that was cut goes on to the same bits, and says so where it doesn't."""

import json
from pathlib import Path
from typing import Any

from degradation.runs.run_dir import RunDir, whole_lines
from degradation.system import files
from degradation.training.worker import REFUSED

from .harness.figure import Figure, of_trials
from .harness.moments import at_step, kill, save_often
from .harness.training import ARMS, config, cpu_machine, made, resumed, train, undisturbed, warm


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Straight against interrupted; a replay that differs; other numerics."""
    what = "plain and residual 20, 56, 110 × channels_last, contiguous in fp32, 8 in bf16"
    return [
        of_trials(
            f"straight = killed and resumed, to the bit: {what if full else 'depth 8'}",
            "the same end",
            [cut(folder / str(n), settings) for n, settings in enumerate(cases(full))],
        ),
        of_trials(
            "a row trained again that differs from what the dead process wrote",
            "reported with both rows, marked, told beside the figures",
            [replayed(folder / "replay")],
        ),
        of_trials(
            "a resume under other numerics (two threads for one)",
            "refused with both shown; with machine.resume=inexact marked in the run and beside "
            "the figures",
            [on_two_threads(folder / "threads")],
        ),
    ]


def cases(full: bool) -> list[dict[str, Any]]:
    """What differs from `config()` in each."""
    large = [
        {"arm": arm, "depth": depth, "numerics__memory_format": layout, "model__width": 16}
        for depth in (20, 56, 110)
        for arm in ARMS
        for layout in ("channels_last", "contiguous")
    ]
    small = [{"arm": arm, "numerics__precision": "bf16"} for arm in ARMS]  # slow on a CPU
    return [*large, *small] if full else [{"arm": "plain", "numerics__memory_format": "contiguous"}]


def cut(folder: Path, changes: dict[str, Any]) -> str:
    """What is wrong with a run that was SIGKILLed before its sixth step, saved at its third."""
    short = {"recipe__iterations": 8, "recipe__milestones": [5], "recipe__eval_every": 4}
    settings = config(**short, **changes)
    ending, run = undisturbed(folder / "straight", settings), made(folder / "cut", settings)
    assert train(run, save_often, at_step(kill, 6)).status == -9
    problem = resumed(run, ending)
    first = json.loads(whole_lines(run.launches_jsonl)[-1])["iteration"]
    return problem or ("" if first == 3 else f"{run.name} went on from iteration {first}")


def killed(runs: Path) -> RunDir:
    """A run whose rows go to iteration 8 and its checkpoint to 6."""
    warm(config())
    run = made(runs, config())
    assert train(run, save_often, at_step(kill, 9)).status == -9
    return run


def replayed(folder: Path) -> str:
    """What is wrong after a digit was changed of a row that will be trained again."""
    run = killed(folder)
    lines = whole_lines(run.curves)
    files.truncate(run.curves, 0)
    for line in [*lines[:-1], lines[-1].replace('"test_error": ', '"test_error": 1')]:
        files.append_line(run.curves, line)
    end = train(run)
    return end.problem(0, "this resume was not exact: row 3", lines[-1]) or marked(run)


def on_two_threads(folder: Path) -> str:
    """What is wrong with a resume on two threads: as it is, and asked for."""
    run = killed(folder)
    rows = run.curves.read_bytes()
    end = train(run, machine=cpu_machine(folder, threads=2))
    message = str((run.failure() or {}).get("message"))
    if problem := end.problem(REFUSED):
        return problem
    if "threads: 1 → 2" not in message or "machine.resume=inexact" not in message:
        return message
    if run.curves.read_bytes() != rows:
        return "refused, but the rows have changed"
    return train(run, machine=cpu_machine(folder, 2, "inexact")).problem(0) or marked(run)


def marked(run: RunDir) -> str:
    """What is wrong unless the run, and what `plot_curves` prints of it, say it isn't exact."""
    from analysis import plot_curves
    from analysis.frames import runs as frames

    folder = run.folder.parent
    remarks = [r for s in frames.studies(folder) for r in plot_curves.remarks(s, str(folder))]
    is_marked = (run.result() or {}).get("exact") is False
    return "" if is_marked and "not exact" in " ".join(remarks) else f"not marked: {remarks}"
