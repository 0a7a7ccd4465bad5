"""Run folders as crashes, people and other programs leave them: catalogue S, N6, N8, X1, C9, L6."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from degradation.config import validation
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.training import checkpoint, worker
from degradation.training.devices import device

from .child import NOBODY, Outcome, can_drop_root
from .fault import Fault
from .place import Place


def _row(iteration: int, **more: Any) -> str:
    return json.dumps({"iteration": iteration, "train_error": 1.0, "test_error": 2.0, **more})


def _curves(change: Callable[[list[str]], list[str]], place: Place) -> Outcome:
    """Draw the small run's curves, of which `change` has made others."""
    run = place.trained()
    lines = change(run.curves.read_text().splitlines())
    run.curves.write_text("\n".join(lines) + "\n", errors="surrogateescape")
    return place.plot("runs")


def curves(what: str, change: Callable[[list[str]], list[str]], *says: str) -> Fault:
    return Fault(
        "S16",
        f"curves.jsonl: {what}",
        functools.partial(_curves, change),
        ("curves.jsonl, line", *says, "restore the file"),
    )


def _file(
    name: str, content: str | bytes, then: Callable[[Place], Outcome], place: Place
) -> Outcome:
    run = place.trained()
    (run.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return then(place)


def file(
    id: str,
    what: str,
    name: str,
    content: str | bytes,
    then: Callable[[Place], Outcome],
    *says: str,
) -> Fault:
    """A file of a run folder that holds something else."""
    return Fault(
        id, f"{name}: {what}", functools.partial(_file, name, content, then), (name, *says)
    )


def _plot(place: Place) -> Outcome:
    return place.plot("runs")


def _again(place: Place) -> Outcome:
    return place.small()


def _status(place: Place) -> Outcome:
    return place.status("machine.runs=runs")


def _resume(change: Callable[[RunDir], object], place: Place) -> Outcome:
    change(place.partial())
    return place.worker()


def resume(
    id: str, what: str, change: Callable[[RunDir], object], *says: str, status: int = 2
) -> Fault:
    """The small run goes on from a folder that `change` has been at."""
    return Fault(id, f"resume: {what}", functools.partial(_resume, change), says, status)


def _edit(key: str, value: Any, run: RunDir) -> None:
    config = json.loads(run.config_json.read_text())
    config["recipe"][key] = value
    run.config_json.write_text(json.dumps(config))


def _other_point(place: Place) -> Outcome:
    """The folder that the command is about to use holds another learning rate."""
    _edit("lr", 0.5, place.partial())
    return place.small()


def _all(content: Callable[[bytes], bytes], run: RunDir) -> None:
    for path in checkpoint.saved(run.checkpoints):
        path.write_bytes(content(path.read_bytes()))


def _remake(change: Callable[[dict[str, Any], dict[str, Any]], object], run: RunDir) -> None:
    """Other checkpoints under good digests."""
    for path in checkpoint.saved(run.checkpoints):
        tensors, meta = checkpoint.decode(path.read_bytes())
        change(tensors, meta)
        path.unlink()
        checkpoint.save(
            run.checkpoints, int(path.name.split("-")[1]), checkpoint.encode(tensors, meta)
        )


def _meta(key: str, value: Any) -> Callable[[RunDir], object]:
    return functools.partial(_remake, lambda tensors, meta: meta.update({key: value}))


def _reshaped(tensors: dict[str, Any], meta: dict[str, Any]) -> None:
    tensors["network.head.weight"] = next(iter(tensors.values())).new_zeros(3, 2)


def _retyped(tensors: dict[str, Any], meta: dict[str, Any]) -> None:
    name = next(name for name in tensors if name.startswith("network."))
    tensors[name] = tensors[name].double()


def _failed(place: Place) -> Outcome:
    place.partial().failed_json.write_text("5")
    return _status(place)


def _starts(run: RunDir) -> None:
    start = json.loads(run.starts.read_text().splitlines()[-1])
    start["digests"]["images"] = "0" * 64
    run.starts.write_text(json.dumps(start) + "\n")


def _other_threads(run: RunDir) -> None:
    def change(tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        meta["fingerprint"] = meta["fingerprint"] | {"threads": 7}

    _remake(change, run)


def _shorter(run: RunDir) -> None:
    lines = run.curves.read_text().splitlines(keepends=True)
    run.curves.write_text("".join(lines[:-2]))


def _runs(make: Callable[[Path], object], place: Place, user: int | None = None) -> Outcome:
    make(place.runs)
    place.user = user
    return place.small()


def _closed(place: Place) -> Outcome:
    place.runs.mkdir(mode=0o555)
    place.folder.chmod(0o755)
    return _runs(lambda _: None, place, NOBODY if can_drop_root() else None)


def _loop(runs: Path) -> None:
    runs.symlink_to("runs")


def _planted(name: str, place: Place) -> Outcome:
    """Something of a run is a link that leads out of it."""
    target = place.folder / "outside"
    target.mkdir()
    run = place.partial()
    path = run.folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target / "file" if "." in name or name == "lock" else target)
    outcome = place.worker() if name != "checkpoints" else place.small()
    assert not any(target.iterdir()), f"{name}: written through the link"
    return outcome


def _full(place: Place) -> Outcome:
    place.change(files, "free", lambda folder: 1000)
    return place.worker()


def _device(place: Place) -> Outcome:
    return place.worker("machine.device=cuda:7")


def _four_devices(place: Place) -> Outcome:
    place.change(device.torch.cuda, "is_available", lambda: True)
    place.change(device.torch.cuda, "device_count", lambda: 4)
    return place.worker("machine.device=cuda:7")


def _busy(place: Place) -> Outcome:
    run = place.partial()
    with files.lock(run.lock):
        return place.worker()


def _finished(place: Place) -> Outcome:
    run = place.trained()
    before = {path: path.stat().st_mtime_ns for path in place.runs.rglob("*")}
    outcome = place.small()
    assert before == {path: path.stat().st_mtime_ns for path in place.runs.rglob("*")}, run.name
    return outcome


def _twice(place: Place) -> Outcome:
    place.trained()
    return place.small("-m", "seed=0,0")


def _nondeterministic(place: Place) -> Outcome:
    def train(session: object) -> None:
        raise RuntimeError(
            "cumsum_cuda_kernel does not have a deterministic implementation, but you "
            "set 'torch.use_deterministic_algorithms(True)'"
        )

    place.change(worker, "train", train)
    return place.worker()


def _mirror(cursor: dict[str, Any], place: Place) -> Outcome:
    run = place.trained()
    nothing = {"rows": 0, "result": False}
    how = {
        "id": run.name,
        "mode": "auto",
        "project": "p",
        "entity": None,
        "study": "s",
        "server": nothing,
        "folder": nothing,
    }
    run.mirror_json.write_text(json.dumps(how | cursor))
    return place.mirror("runs")


def _no_wandb(place: Place) -> Outcome:
    place.change(validation.sys, "modules", validation.sys.modules | {"wandb": None})
    place.changes.append(lambda: validation.sys.modules.update({"wandb": None}))
    return _mirror({}, place)


def _misspelt(place: Place) -> Outcome:
    place.variables["WANDB_MODE"] = "ofline"
    return _mirror({}, place)


def _password(place: Place) -> Outcome:
    place.variables["WANDB_BASE_URL"] = "https://user:c0ffee@wandb.example"
    outcome = _mirror({}, place)
    assert "c0ffee" not in outcome.text
    return outcome


FAULTS: list[Fault] = [
    curves("not JSON", lambda r: [r[0], "{'iteration': 2}", *r[1:]], "line 2"),
    curves("a line twice", lambda r: [r[0], *r], "line 2", "iteration=4 behind 4", "must rise"),
    curves("out of order", lambda r: r[::-1], "line 2", "must rise"),
    curves("no object", lambda r: [*r, "[1, 2]"], "[1, 2]", "a group of keys"),
    curves("another program's", lambda r: [*r, '{"step": 1, "loss": 2}'], "no iteration"),
    curves(
        "a word for a number",
        lambda r: [*r, _row(99, test_loss="x")],
        "test_loss=x",
        "a number or null",
    ),
    curves("NaN", lambda r: [*r, _row(99).replace("1.0", "NaN")], "NaN is no number"),
    curves("half an iteration", lambda r: [*r, _row(9).replace("9", "99.5")], "whole number"),
    curves("a key for a terminal", lambda r: [*r, _row(99, **{"\x1b]0;x": 1})], "letters and _"),
    Fault(
        "S16",
        "curves.jsonl: not UTF-8",
        functools.partial(_file, "curves.jsonl", b'\xff\xfe{"iteration": 1}\n', _plot),
        ("curves.jsonl", "not UTF-8", "restore the file"),
    ),
    file("S16", "not JSON", "launches.jsonl", "nonsense\n", _plot, "line 1", "restore the file"),
    file("S16", "another shape", "launches.jsonl", '{"digests": 5}\n', _plot, "groups of keys"),
    file(
        "S16",
        "another shape",
        "timing.jsonl",
        '{"iteration": 4}\n',
        _plot,
        "line 1",
        "seconds=None",
    ),
    file(
        "S16",
        "no table",
        "responses.csv",
        "a,b\n1,2\n",
        _plot,
        "degradation.evaluation.layer_responses",
    ),
    file(
        "S16",
        "words",
        "responses.csv",
        "layer,name,response_std\n1,a,=cmd()\n",
        _plot,
        "degradation.evaluation.layer_responses",
    ),
    file("S12", "cut off", "done.json", '{"outcome": "do', _again, "remove it", "makes it anew"),
    file("S12", "no object", "done.json", "[]", _again, "a group of keys", "remove it"),
    file("S12", "no outcome", "done.json", "{}", _status, "outcome=None", "done or diverged"),
    file(
        "S12",
        "another outcome",
        "done.json",
        '{"outcome": "\\u001b[2J"}',
        _plot,
        "outcome=",
        "done or diverged",
        "remove it",
    ),
    file(
        "S12", "cut off", "config.json", '{"model": {"shor', _plot, "restore it", "move the folder"
    ),
    file("S12", "another version's", "config.json", '{"depth": 21}', _status, "model: missing"),
    file("S12", "nested 100,000 deep", "config.json", "[" * 100_000, _status, "recursion"),
    file("S12", "no object", "config.json", "7", _plot, "a group of keys", "restore it"),
    Fault(
        "S12", "failed.json: no object", _failed, ("failed.json", "a group of keys", "remove it")
    ),
    Fault(
        "C9",
        "config.json changed",
        _other_point,
        ("recipe.lr: 0.5 → 0.05", "move the folder away", "machine.runs=OTHER"),
        status=1,
    ),
    resume(
        "C9",
        "config.json of another run",
        functools.partial(_edit, "lr", 0.5),
        "is a checkpoint of",
        "to train the run anew",
    ),
    resume(
        "S11",
        "all checkpoints flipped",
        functools.partial(_all, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        "SHA-256",
        "no checkpoint is whole",
        "restore one, or remove",
    ),
    resume(
        "S11",
        "all checkpoints empty",
        functools.partial(_all, lambda content: b""),
        "no checkpoint is whole",
        "restore one, or remove",
    ),
    resume(
        "S12",
        "a checkpoint of another run",
        _meta("run", "digits-plain-8-s1-00000000"),
        "is a checkpoint of digits-plain-8-s1-00000000",
        "remove",
    ),
    resume(
        "S12",
        "a checkpoint without iteration",
        _meta("iteration", None),
        "checkpoints",
        "its iteration is None",
        "remove",
    ),
    resume(
        "S12",
        "a checkpoint with rows=-1",
        _meta("rows", -1),
        "checkpoints",
        "its rows is -1",
        "remove",
    ),
    resume(
        "S12",
        "a checkpoint of another shape",
        functools.partial(_remake, _reshaped),
        "network.head.weight",
        "(3, 2)",
    ),
    resume(
        "S12",
        "a checkpoint of another type",
        functools.partial(_remake, _retyped),
        "float64",
        "float32",
    ),
    resume(
        "S15",
        "curves.jsonl shorter than the checkpoint says",
        _shorter,
        "curves.jsonl has 3 rows",
        "its checkpoint",
        "restore the file",
    ),
    resume(
        "S14",
        "stale temporary files",
        lambda run: (run.folder / ".x.tmp").write_text("x"),
        "",
        status=0,
    ),
    resume(
        "N6",
        "another number of threads",
        _other_threads,
        "other numerics",
        "threads: 7 → 1",
        "machine.resume=inexact",
    ),
    resume("D8", "the data has changed", _starts, "other data", "images:", "restore the data"),
    Fault(
        "S3",
        "the disk is too full at the start",
        _full,
        ("need", "1.0 kB free", "free some space", "machine.runs=OTHER"),
        status=5,
    ),
    Fault(
        "S6",
        "runs can't be written",
        _closed,
        ("runs", "Permission denied", "machine.runs=OTHER"),
        status=5,
    ),
    Fault(
        "S7",
        "runs is a file",
        lambda p: _runs(lambda runs: runs.write_text("x"), p),
        ("runs", "a file", "machine.runs=OTHER"),
        status=5,
    ),
    Fault(
        "S7",
        "runs is a link to nowhere",
        lambda p: _runs(lambda runs: runs.symlink_to("/proc/nowhere/x"), p),
        ("runs", "symbolic link"),
        status=5,
    ),
    Fault(
        "S7",
        "runs is a link to itself",
        lambda p: _runs(_loop, p),
        ("runs", "symbolic link"),
        status=5,
    ),
    Fault(
        "S19",
        "a name that is too long",
        lambda p: p.small(f"machine.runs={'x' * 300}"),
        ("too long", "machine.runs=SHORTER"),
        status=5,
        touches=False,
    ),
    Fault(
        "Z6",
        "checkpoints is a link",
        functools.partial(_planted, "checkpoints"),
        ("checkpoints", "symbolic link", "remove that"),
        status=1,
    ),
    Fault(
        "Z6",
        "curves.jsonl is a link to nowhere",
        functools.partial(_planted, "curves.jsonl"),
        ("curves.jsonl",),
    ),
    Fault(
        "Z6",
        "lock is a link",
        functools.partial(_planted, "lock"),
        ("lock", "symbolic link", "remove that"),
        status=5,
    ),
    Fault(
        "Z6",
        "worker.log is a link",
        functools.partial(_planted, "worker.log"),
        ("worker.log", "symbolic link"),
        status=5,
    ),
    Fault(
        "C10",
        "cuda:7 where there is none",
        _device,
        ("machine.device=cuda:7", "not found", "this machine has cpu"),
    ),
    Fault("C10", "cuda:7 of four", _four_devices, ("machine.device=cuda:7", "cuda:3")),
    Fault(
        "X1", "another process has the folder", _busy, ("in use by pid", " on ", "since"), status=75
    ),
    Fault(
        "N8",
        "all is finished",
        _finished,
        ("1 points, 1 of them finished: nothing to train",),
        status=0,
    ),
    Fault(
        "C7",
        "a run asked for twice",
        _twice,
        ("1 of 2 points are asked for more than once",),
        status=0,
    ),
    Fault(
        "N5",
        "an operation that isn't deterministic",
        _nondeterministic,
        ("cumsum", "deterministic", "worker.log"),
        status=1,
    ),
    Fault(
        "L6",
        "wandb is not installed",
        _no_wandb,
        ("wandb can't be imported", "pip install 'wandb"),
    ),
    Fault(
        "L6",
        "WANDB_MODE misspelt",
        _misspelt,
        ("WANDB_MODE=ofline", "did you mean 'offline'"),
    ),
    Fault(
        "Z8",
        "a password in WANDB_BASE_URL",
        _password,
        ("WANDB_BASE_URL", "WANDB_API_KEY"),
    ),
    Fault(
        "L7",
        "mirror.json: another shape",
        lambda p: _mirror({"server": {"rows": "x"}}, p),
        ("mirror.json", "must have id", "remove it"),
    ),
    Fault(
        "L7",
        "mirror.json: another mode",
        lambda p: _mirror({"mode": "evil"}, p),
        ("mirror.json", "remove it"),
    ),
]
