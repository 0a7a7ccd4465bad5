"""Run folders from somebody else: links in them, and text that screens, pages and tables obey.

Z5, Z6, Z9, Z10, Z12.
"""

import csv
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from degradation.runs.run_dir import RunDir
from degradation.system import files

from .attack import MARK, Attack
from .child import Outcome
from .place import SMALL, Place

TEXTS = {
    "a terminal's title": "\x1b]0;ran\x07",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a CSI of one byte": "\x9b2J",
    "the other direction": "\u202egnp.exe",
    "an isolate": "\u2066x\u2069",
    "a line of its own": "fine\ndone digits-plain-8 12/12",
    "a carriage return": "failed\rdone  ",
    "a backspace": "bad\b\b\bfine",
    "a formula": "=cmd|'/C touch ran'!A0",
    "a formula behind a plus": "+1+cmd|'x'!A0",
    "a formula behind an at": "@SUM(1)",
    "a formula behind a tab": "\t=1+1",
    "a script": "<script>fetch('//evil')</script>",
    "the end of a script": "</script><img src=x onerror=alert(1)>",
    "a shell": "$(touch ran)`touch ran`;touch ran",
    "LaTeX": "\\input{/etc/passwd}\\write18{touch ran}",
    "a template": "${data}$policy{{7*7}}%s%n",
    "half a character": "\ud800",
    "a NUL": "a\x00b",
}


COMMANDS = ("status", "plot", "report", "verdict")
FIGURES = ("digits-figure6.png", "digits-errors.csv", "digits-depth.csv", "report.html")


def _named(text: str) -> str:
    """`text` as far as a folder can have it for a name."""
    return text.replace("/", "_").replace("\x00", "_").encode("utf-8", "replace").decode()


def _filled(text: str, place: Place) -> None:
    """A finished run with the text in all that is shown of it, a failed one, and an evil name."""
    run = place.trained()
    _write(text, run)


def _write(text: str, run: RunDir) -> None:
    start = {
        "at": text,
        "host": text,
        "commit": text,
        "versions": {text: text},
        "digests": {"initial": text, "stream": text},
        "fingerprint": {"gpu": text},
    }
    run.starts.write_text(json.dumps(start) + "\n")
    run.log.write_bytes(text.encode("utf-8", "replace") + b"\n")
    done = json.loads(run.done_json.read_text())
    run.done_json.write_text(json.dumps(done | {"finished": text, "fingerprint": {text: text}}))
    copy = run.folder.with_name(_named(text))
    shutil.copytree(run.folder, copy)
    (copy / "done.json").unlink()
    failed = {"kind": text, "message": text, "at": text}
    (copy / "failed.json").write_text(json.dumps(failed))


def _shown(command: str, texts: tuple[str, ...], place: Place) -> Outcome:
    run = place.trained()
    for text in texts:
        _write(text, run)
    (place.folder / "figures").mkdir()
    for name in FIGURES:
        (place.folder / "figures" / name).symlink_to(place.folder / "home/.ssh/id")
    word = "machine.runs=runs" if command == "status" else "runs"
    outcome = getattr(place, command)(word)
    if command == "plot":
        _check_tables(place.folder / "figures")
    return outcome


def _check_tables(figures: Path) -> None:
    """No cell of a table is a formula, and none holds what nobody sees."""
    tables = list(figures.glob("*.csv"))
    assert tables
    for path in tables:
        with path.open(newline="") as file:
            for cell in (cell for line in csv.reader(file) for cell in line):
                assert cell[:1] not in ("=", "+", "@", "\t", "\r"), (path, cell)
                assert cell[:1] != "-" or cell.lstrip("-")[:1].isdigit(), (path, cell)
                assert "\x1b" not in cell and "\x9b" not in cell, (path, cell)
    for path in figures.glob("*.tex"):
        assert "write18" not in path.read_text()


def _mirrored(text: str, place: Place) -> Outcome:
    """What would reach W&B of it; there is none here."""
    _filled(text, place)
    place.changes.append(lambda: __import__("sys").modules.update({"wandb": None}))
    run = next(place.runs.glob("*/done.json")).parent
    nothing = {"rows": 0, "result": False}
    how = {
        "id": run.name,
        "mode": "offline",
        "project": text,
        "entity": None,
        "study": "s",
        "server": nothing,
        "folder": nothing,
    }
    (run / "mirror.json").write_text(json.dumps(how))
    return place.mirror("runs")


# Links, planted before the process starts

FILES = (
    "curves.jsonl",
    "timing.jsonl",
    "launches.jsonl",
    "worker.log",
    "failed.json",
    "done.json",
    "resume_mismatches.jsonl",
    "lock",
    "mirror.json",
    "responses.csv",
    "config.json",
)


def _linked(name: str, target: str, place: Place) -> Outcome:
    run = place.partial()
    path = run.folder / name
    path.unlink(missing_ok=True)
    path.symlink_to(place.folder / "home" / ".ssh" / target)
    return place.worker()


def _temporary(name: str, place: Place) -> Outcome:
    """The name that the next process would write under, guessed for many pids."""
    run = place.partial()
    here = os.getpid()
    for pid in range(here, here + 300):
        (run.folder / f".{name}.{pid}.tmp").symlink_to(place.folder / "home/.ssh/id")
    return place.worker()


def _folder(make: Callable[[Path, Path], object], command: str, place: Place) -> Outcome:
    """A folder of the run, or the run itself, is a link that leads home."""
    run = place.partial()
    make(run.folder, place.folder / "home" / ".ssh")
    return place.worker() if command == "worker" else place.small()


def _swap(name: str) -> Callable[[Path, Path], object]:
    def swap(run: Path, home: Path) -> None:
        path = run.parent / name if name.startswith((".", "wandb")) else run / name
        shutil.rmtree(path, ignore_errors=True)
        path.symlink_to(home)

    return swap


def _whole(run: Path, home: Path) -> None:
    shutil.rmtree(run)
    run.symlink_to(home)


def _multirun(run: Path, home: Path) -> None:
    (run.parent / ".hydra").mkdir()
    (run.parent / ".hydra" / "multirun.yaml").symlink_to(home / "id")


def _sweep(make: Callable[[Path, Path], object], place: Place) -> Outcome:
    run = place.partial()
    make(run.folder, place.folder / "home" / ".ssh")
    return place.run("-m", *SMALL, "seed=0,1")


def _figures(command: str, names: tuple[str, ...], place: Place) -> Outcome:
    """The names of figures are links that lead home."""
    place.trained()
    (place.folder / "figures").mkdir()
    for name in names:
        (place.folder / "figures" / name).symlink_to(place.folder / "home/.ssh/id")
    return getattr(place, command)("runs")


def _probed(place: Place) -> Outcome:
    run = place.trained()
    run.responses.symlink_to(place.folder / "home/.ssh/id")
    return place.probe("runs")


def _strangers(place: Place) -> Outcome:
    """A folder of somebody else's into which everybody may write."""
    run = place.partial()
    run.folder.chmod(0o777)
    os.chown(run.folder, 12345, 12345)
    return place.small()


def _endless(name: str, command: str, pipe: bool, place: Place) -> Outcome:
    """A file that never ends, or a pipe that nobody writes into."""
    run = place.partial() if command == "worker" else place.trained()
    path = next(run.checkpoints.iterdir()) if name == "a checkpoint" else run.folder / name
    path.unlink(missing_ok=True)
    if pipe:
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return getattr(place, command)(*(["machine.runs=runs"] if command == "status" else []))


def _appended(text: str, place: Place) -> Outcome:
    """A row, a message or a name with a line end in it stays one line."""

    def append() -> int:
        files.append_line(Path("log.jsonl"), json.dumps({"tag": text, text: 1}))
        return 0 if Path("log.jsonl").read_text().count("\n") == 1 else 70

    return place.call(append)


def attacks(full: bool) -> list[Attack]:
    """All of them; the quick form shows many texts at once, and plants all links to figures."""
    few = tuple(TEXTS.values())[::3]
    texts = {what: (text,) for what, text in TEXTS.items()} if full else {f"{len(few)} texts": few}
    figures = [(name,) for name in FIGURES] if full else []
    return [
        *(
            Attack(
                "text",
                f"{what}, to {command}",
                functools.partial(_shown, command, shown[: 2 if command == "plot" else None]),
                False,
            )
            for what, shown in texts.items()
            for command in COMMANDS
        ),
        *(
            Attack(
                "link",
                f"figures: {', '.join(names)}",
                functools.partial(_figures, command, names),
                False,
            )
            for names in figures
            for command in ("plot", "report")
        ),
        *(
            ATTACKS
            if full
            else [a for i, a in enumerate(ATTACKS) if a.kind != "text" or i % 4 == 0]
        ),
    ]


ATTACKS = [
    *(
        Attack("text", f"{what}, to the mirror", functools.partial(_mirrored, text), False)
        for what, text in TEXTS.items()
    ),
    *(
        Attack("text", f"{what}, in a line", functools.partial(_appended, text), False)
        for what, text in TEXTS.items()
    ),
    *(
        Attack("link", f"{name} to a key", functools.partial(_linked, name, "id"), False)
        for name in FILES
    ),
    *(
        Attack("link", f"{name} to a new file", functools.partial(_linked, name, MARK), False)
        for name in FILES
    ),
    *(
        Attack("link", f"the temporary name of {name}", functools.partial(_temporary, name), False)
        for name in ("done.json", "failed.json")
    ),
    Attack("link", "the run", functools.partial(_folder, _whole, "run")),
    Attack("link", "the run, to the worker", functools.partial(_folder, _whole, "worker")),
    Attack("link", "checkpoints", functools.partial(_folder, _swap("checkpoints"), "run")),
    Attack(
        "link",
        "checkpoints, to the worker",
        functools.partial(_folder, _swap("checkpoints"), "worker"),
    ),
    Attack("link", ".hydra", functools.partial(_folder, _swap(".hydra"), "run")),
    Attack("link", "wandb", functools.partial(_folder, _swap("wandb"), "run")),
    Attack("link", "multirun.yaml", functools.partial(_sweep, _multirun)),
    Attack("link", "responses.csv", _probed, False),
    *(
        Attack(
            "link" if not pipe else "pipe",
            f"{name}, to {command}" + ", never ends" * (not pipe),
            functools.partial(_endless, name, command, pipe),
            False,
        )
        for pipe in (False, True)
        for command, names in (
            ("status", ("curves.jsonl", "done.json", "config.json")),
            (
                "worker",
                (
                    "curves.jsonl",
                    "launches.jsonl",
                    "worker.log",
                    "lock",
                    "a checkpoint",
                    "config.json",
                ),
            ),
        )
        for name in names
    ),
    *([Attack("modes", "a folder of somebody else's", _strangers)] if os.geteuid() == 0 else []),
]
