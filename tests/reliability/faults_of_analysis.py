"""The commands that only look: catalogue C10, C13, C14, and what is no folder of runs."""

import functools
from collections.abc import Callable

from .child import NOBODY, Outcome, can_drop_root
from .fault import Fault
from .place import Place

Command = Callable[[Place], Outcome]


def _of_a_file(command: str, place: Place) -> Outcome:
    place.write("runs", "x")
    return getattr(place, command)("machine.runs=runs" if command == "status" else "runs")


def _out_of_reach(command: str, out: str, place: Place) -> Outcome:
    place.trained()
    place.folder.chmod(0o755)
    (place.folder / "closed").mkdir(mode=0o555)
    place.write("file", "x")
    place.user = NOBODY if can_drop_root() else None
    for name in ("MPLCONFIGDIR",):
        place.variables[name] = "/tmp"
    return getattr(place, command)("runs", "--out", out)


def _trained(command: str, *words: str) -> Command:
    def do(place: Place) -> Outcome:
        place.trained()
        return getattr(place, command)(*words)

    return do


def _no_checkpoint(place: Place) -> Outcome:
    for path in place.trained().checkpoints.iterdir():
        path.unlink()
    return place.probe("runs")


FAULTS: list[Fault] = [
    Fault("C13", "status: no runs", lambda p: p.status(), ("no runs in /", "/runs"), 0),
    Fault(
        "C14",
        "plot_curves: no runs",
        lambda p: p.plot("none"),
        ("/none holds no run", "python -m degradation.run +sweeps=quickstart"),
        1,
    ),
    Fault(
        "C14",
        "report: no runs",
        lambda p: p.report("none"),
        ("/none holds no run", "python -m degradation.run +sweeps=quickstart"),
        1,
    ),
    Fault(
        "C14",
        "verdict: no runs",
        lambda p: p.verdict("none"),
        ("/none holds no run", "python -m degradation.run +sweeps=seeds"),
        1,
    ),
    Fault(
        "C14",
        "mirror: no runs",
        lambda p: p.mirror("none"),
        ("none", "one folder of runs", "usage:"),
    ),
    Fault("C14", "probe: no runs", lambda p: p.probe("none"), ("none", "a finished one", "usage:")),
    Fault("C14", "probe: no checkpoint", _no_checkpoint, ("has no checkpoint", "train the run")),
    Fault("S7", "status: a file", functools.partial(_of_a_file, "status"), ("runs", "a file"), 5),
    Fault(
        "S7",
        "plot_curves: a file",
        functools.partial(_of_a_file, "plot"),
        ("runs", "holds no run"),
        1,
    ),
    Fault("S7", "mirror: a file", functools.partial(_of_a_file, "mirror"), ("one folder of runs",)),
    Fault(
        "S6",
        "plot_curves: --out is closed",
        functools.partial(_out_of_reach, "plot", "closed/figures"),
        ("closed", "Permission denied", "--out"),
        5,
    ),
    Fault(
        "S7",
        "plot_curves: --out is a file",
        functools.partial(_out_of_reach, "plot", "file"),
        ("file", "a file", "--out"),
        5,
    ),
    Fault(
        "S6",
        "report: --out is closed",
        functools.partial(_out_of_reach, "report", "closed/page.html"),
        ("closed", "Permission denied", "--out"),
        5,
    ),
    Fault(
        "C3",
        "plot_curves: --style",
        _trained("plot", "runs", "--style", "papr"),
        ("--style", "'papr'", "modern", "paper"),
    ),
    Fault(
        "C4",
        "plot_curves: an unknown option",
        _trained("plot", "runs", "--format", "png"),
        ("--format", "usage:"),
    ),
    Fault(
        "C5",
        "verdict: --margin abc",
        _trained("verdict", "runs", "--margin", "abc"),
        ("--margin", "'abc'", "float"),
    ),
    Fault(
        "C5", "verdict: --margin -1", _trained("verdict", "runs", "--margin=-1"), ("margin", "-1")
    ),
    Fault(
        "C5",
        "verdict: --margin nan",
        _trained("verdict", "runs", "--margin", "nan"),
        ("margin", "nan"),
    ),
    Fault(
        "C4",
        "status: an unknown key",
        lambda p: p.status("machine.run=x"),
        ("machine.run", "did you mean 'machine.runs'"),
    ),
    Fault("C1", "status: a bad depth", lambda p: p.status("depth=21"), ("depth=21", "6n+2")),
]
