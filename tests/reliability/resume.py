"""A run that was cut goes on to the same bits, and says so where it doesn't."""

import json
import os
from pathlib import Path

from degradation.runs.run_dir import whole_lines
from degradation.system import files
from degradation.training.worker import REFUSED

from . import fork, pair
from .figure import Figure
from .moments import Moment, save_often

SECTION = "Resume"


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """Straight against interrupted; a replay that differs; other numerics."""
    return [
        matrix(full, folder / "matrix"),
        replay(folder / "replay"),
        *other_numerics(folder / "numerics"),
    ]


def matrix(full: bool, folder: Path) -> Figure:
    """G9. Each is SIGKILLed in the middle of its seventh step, its checkpoint some steps old."""
    cases = [
        (arm, depth, "fp32", layout, True)
        for depth in (20, 56, 110)
        for arm in pair.ARMS
        for layout in ("channels_last", "contiguous")
    ]
    cases += [(arm, 8, "bf16", "channels_last", False) for arm in pair.ARMS]  # slow on a CPU
    if not full:
        cases = [
            ("plain", 8, "fp32", "contiguous", False),
            ("residual", 14, "fp32", "channels_last", False),
        ]
    wrong = []
    for arm, depth, precision, layout, wide in cases:
        config = pair.config(
            arm,
            full=wide,
            depth=depth,
            recipe__iterations=8,
            recipe__milestones=[5],
            recipe__eval_every=4,
            recipe__batch_size=16,
            numerics__precision=precision,
            numerics__memory_format=layout,
        )
        fork.warm(config)
        straight, cut = (pair.made(folder / name, config) for name in ("straight", "cut"))
        statuses = [
            fork.once(straight).status,
            fork.once(cut, save_often, Moment("step", 6, 1).strike).status,
            fork.once(cut).status,
        ]
        first = json.loads(whole_lines(cut.launches_jsonl)[-1])["iteration"]
        if statuses != [0, -9, 0] or first != 3 or pair.Ending.of(cut) != pair.Ending.of(straight):
            wrong.append(f"{config.label} {precision} {layout}: {statuses}, from {first}")
    what = (
        "plain and residual 20, 56, 110 × channels_last, contiguous in fp32, 8 in bf16"
        if full
        else "plain 8 and residual 14"
    )
    return Figure(
        SECTION,
        f"straight = killed and resumed, to the bit: {what}",
        f"{len(cases)} of {len(cases)}",
        "; ".join(wrong) or f"{len(cases)} of {len(cases)}",
        not wrong,
    )


def replay(folder: Path) -> Figure:
    """R7: a digit of a row that will be trained again is another."""
    config = pair.config(full=False)
    fork.warm(config)
    run = pair.made(folder, config)
    fork.once(run, save_often, Moment("step", 9, 1).strike)  # rows to 8, checkpoint at 6
    lines = whole_lines(run.curves)
    files.truncate(run.curves, 0)
    for line in [*lines[:-1], lines[-1].replace('"test_error": ', '"test_error": 1')]:
        files.append_line(run.curves, line)
    end = fork.once(run)
    result = run.result() or {}
    drawn = remarks(folder)
    ok = end.status == 0 and result.get("exact") is False
    ok &= "this resume was not exact: row 3" in end.said and lines[-1] in end.said
    ok &= "not exact" in drawn
    got = "reported with both rows, marked, told beside the figures"
    return Figure(
        SECTION,
        "a row trained again that differs from what the dead process wrote",
        got,
        got if ok else f"{end.status}: {end.said[-400:]} {result} {drawn}",
        ok,
    )


def other_numerics(folder: Path) -> list[Figure]:
    """N6: other threads, another instruction set."""
    config, found = pair.config(full=False), []
    fork.warm(config)
    for name, threads, limits, word in (
        ("two threads for one", 2, {}, "threads: 1 → 2"),
        (
            "MKL_CBWR=COMPATIBLE",
            1,
            {"MKL_CBWR": "COMPATIBLE"},
            "limits.MKL_CBWR: None → COMPATIBLE",
        ),
    ):
        run = pair.made(folder / name.replace(" ", "-"), config)
        fork.once(run, save_often, Moment("step", 9, 1).strike)
        rows = run.curves.read_bytes()
        ends = []
        for how in ("exact", "inexact"):
            other = pair.machine(run.folder.parent, threads=threads, resume=how)
            change = lambda limits=limits: os.environ.update(limits)  # noqa: E731
            ends.append(fork.child(fork.body_of(run, change, how=other), fork.log_of(run)))
            if how == "exact":
                message = str((run.failure() or {}).get("message"))
                kept = run.curves.read_bytes() == rows
        refused = ends[0].status == REFUSED and word in message
        refused &= "machine.resume=inexact" in message and kept
        marked = ends[1].status == 0 and (run.result() or {}).get("exact") is False
        marked &= "not exact" in remarks(run.folder.parent)
        ok = refused and marked
        got = "refused with both, marked when asked for" if ok else f"{message} {ends}"
        found.append(
            Figure(
                SECTION,
                f"a resume under other numerics ({name})",
                "refused with both shown; with machine.resume=inexact marked in the "
                "run and beside the figures",
                got,
                ok,
            )
        )
    return found


def remarks(runs: Path) -> str:
    """What `plot_curves` says beside the figures of a folder."""
    from analysis import plot_curves
    from analysis.frames import runs as frames

    return "\n".join(
        line for s in frames.studies(runs) for line in plot_curves.remarks(s, str(runs))
    )
