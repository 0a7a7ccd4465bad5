"""Every way in which a mirror can be hurt, against a server's double: what arrives all the same.

    python tests/mirror_faults.py           each case: rows sent, lost, doubled, training held up
    python tests/mirror_faults.py NAME …    some of them

A case writes the rows of a run as a worker would, and hurts whoever sends them. In the end every
row must be on the server, once, in order. `tests/test_mirror.py` runs the same cases in pytest.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from degradation.runs.run_dir import RunDir
from degradation.system import files
from tests.tracking.mirror_world import MIRROR, TOP, World, curve, world

CASES: dict[str, Callable[[World], list[RunDir]]] = {}


def case(function: Callable[[World], list[RunDir]]) -> Callable[[World], list[RunDir]]:
    """Register a case; its docstring is its line in the table."""
    CASES[function.__name__] = function
    return function


class Skip(Exception):
    """The means of a case is missing here."""


@case
def well(w: World) -> list[RunDir]:
    """a server that does its work; two points"""
    with w.stub:
        runs = [w.begin(seed) for seed in (0, 1)]
        for run in runs:
            w.row(run, 5, pause=0.02)
            w.end(run)
        w.wait_for(lambda: all(map(w.complete, runs)))
        assert w.leave() == []
    return runs


@case
def refuses_then_comes(w: World) -> list[RunDir]:
    """refuses connections, then comes"""
    run = w.begin()
    w.row(run, 5)
    w.wait_for(lambda: "out of reach" in w.said)
    with w.stub:
        w.row(run, 2)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
    return [run]


def _mood(w: World, mood: str) -> list[RunDir]:
    """The server is in a mood at first, in the middle, and well in the end."""
    with w.stub:
        w.stub.mood = mood
        run = w.begin()
        w.row(run, 3)
        w.wait_for(lambda: "out of reach" in w.said)
        w.stub.mood = "well"
        w.wait_for(lambda: w.arrived(run) == 3)
        w.stub.mood = mood
        w.row(run, 3)
        time.sleep(1.0)
        w.stub.mood = "well"
        w.row(run, 2)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
    return [run]


@case
def hangs_and_recovers(w: World) -> list[RunDir]:
    """accepts and never answers, twice"""
    return _mood(w, "hang")


@case
def errors_and_recovers(w: World) -> list[RunDir]:
    """answers 500, twice"""
    return _mood(w, "error")


@case
def cuts_and_recovers(w: World) -> list[RunDir]:
    """takes rows and closes in the middle of its answer, twice"""
    return _mood(w, "cut")


@case
def goes_and_comes_back(w: World) -> list[RunDir]:
    """goes away and comes back, twice"""
    with w.stub:
        run = w.begin()
        w.row(run, 3)
        w.wait_for(lambda: w.arrived(run) == len(run.rows()))
    for _ in range(2):
        w.row(run, 2)
        time.sleep(0.3)
        with w.stub:
            w.row(run, 2)
            w.wait_for(lambda: w.arrived(run) == len(run.rows()))
    w.end(run)
    with w.stub:
        w.wait_for(lambda: w.complete(run))
    return [run]


@case
def core_killed(w: World) -> list[RunDir]:
    """wandb's own process is killed, twice"""
    with w.stub:
        run = w.begin()
        for _ in range(2):
            w.row(run, 3)
            w.wait_for(lambda: w.arrived(run) == len(run.rows()))
            w.kill_core()
        w.row(run, 2)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
    return [run]


@case
def follower_killed(w: World) -> list[RunDir]:
    """the process that follows is killed; training starts it anew"""
    with w.stub:
        run = w.begin()
        w.row(run, 3)
        w.wait_for(lambda: w.arrived(run) == 3)
        w.kill_follower()
        w.row(run, 3)
        w.timed(w.feed.look)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
    return [run]


@case
def killed_before_the_note(w: World) -> list[RunDir]:
    """killed between log and note, with the whole study; the command sends the rest"""
    with w.stub:
        run = w.begin()
        w.row(run, 4)
        w.wait_for(lambda: w.arrived(run) == 4)
        w.kill_follower()
        assert files.read_json(run.wandb_json)["server"]["rows"] == 0
        w.row(run, 2)
        assert w.command().returncode == 0
        assert w.command().stdout.startswith("0 runs sent, 0 left behind, 1 complete")
    return [run]


@case
def worker_killed_and_resumed(w: World) -> list[RunDir]:
    """the trainer is killed in the middle of a line, and goes on from before"""
    with w.stub:
        run = w.begin()
        w.row(run, 4)
        w.wait_for(lambda: w.arrived(run) == 4)
        with run.curves.open("a") as file:
            file.write('{"iteration": 2')
        w.end(run, result=False)
        w.wait_for(lambda: files.read_json(run.wandb_json)["server"]["rows"] == 4)
        files.truncate(run.curves, run.curves.read_text().rindex("\n") + 1)
        files.append_line(run.timing_jsonl, json.dumps({"iteration": 16, "seconds": 9.0}))
        w.begin()
        w.row(run, 3)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
    return [run]


@case
def exits_with_a_backlog(w: World) -> list[RunDir]:
    """the study ends before a server that hangs; the command sends the rest later"""
    with w.stub:
        w.stub.mood = "hang"
        run = w.begin()
        w.row(run, 5)
        w.end(run)
        before = time.monotonic()
        assert w.leave() == [run.name]
        assert time.monotonic() - before < 10
        w.stub.mood = "well"
        assert w.command().returncode == 0
    return [run]


@case
def command_killed_and_repeated(w: World) -> list[RunDir]:
    """`degradation.tracking.sync` is killed again and again, and repeated"""
    runs = []
    for seed in range(3):
        runs.append(run := w.begin(seed))
        w.row(run, 5)
        w.end(run)
    w.kill_follower()
    with w.stub:
        for delay in (1.2, 1.8, 2.4):
            process = subprocess.Popen(
                [*MIRROR, str(w.runs)], env=w.environment, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(delay)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert w.command().returncode == 0
    return runs


@case
def no_key(w: World) -> list[RunDir]:
    """no key: a folder, begun twice, which `wandb sync` sends"""
    os.environ.pop("WANDB_API_KEY")
    run = w.begin()
    w.row(run, 3)
    w.wait_for(lambda: list(w.runs.glob("wandb/offline-run-*")))
    w.kill_follower()  # in the middle: its folder holds some of the rows
    w.row(run, 3)
    w.feed.look()
    w.end(run)
    w.wait_for(lambda: files.read_json(run.wandb_json)["folder"]["rows"] == 6)
    sync(w)
    return [run]


@case
def no_key_synced_in_between(w: World) -> list[RunDir]:
    """no key: `wandb sync` before the run is resumed, and after"""
    os.environ.pop("WANDB_API_KEY")
    run = w.begin()
    w.row(run, 3)
    w.end(run, result=False)
    w.wait_for(lambda: files.read_json(run.wandb_json)["folder"]["rows"] == 3)
    sync(w)
    w.begin()
    w.row(run, 3)
    w.end(run)
    w.wait_for(lambda: files.read_json(run.wandb_json)["folder"]["rows"] == 6)
    sync(w)
    return [run]


@case
def no_key_then_the_command(w: World) -> list[RunDir]:
    """no key at first; then a key, `degradation.tracking.sync`, and `wandb sync` on top"""
    os.environ.pop("WANDB_API_KEY")
    run = w.begin()
    w.row(run, 5)
    w.end(run)
    w.wait_for(lambda: files.read_json(run.wandb_json)["folder"]["rows"] == 5)
    with w.stub:
        assert w.command().returncode == 0
    assert not list(w.runs.glob("wandb/offline-run-*"))  # else they would be sent once more
    return [run]


def sync(w: World) -> None:
    folders = sorted(map(str, w.runs.glob("wandb/offline-run-*")))
    with w.stub:
        done = w.call([sys.executable, "-m", "wandb", "sync", *folders])
        assert done.returncode == 0, done.stderr


@case
def wrong_key(w: World) -> list[RunDir]:
    """a key that the server doesn't know; later it does"""
    with w.stub:
        w.stub.mood = "forbid"
        run = w.begin()
        w.row(run, 4)
        w.end(run)
        w.wait_for(lambda: files.read_json(run.wandb_json)["folder"]["rows"] == 4)
        assert w.said.count("W&B refuses") == 1
        assert w.command().returncode == 1
        w.stub.mood = "well"
        assert w.command().returncode == 0
    return [run]


@case
def no_wandb(w: World) -> list[RunDir]:
    """wandb isn't installed; later it is"""
    broken = w.runs.parent / "broken"
    broken.mkdir()
    (broken / "wandb.py").write_text("raise ImportError('no such module')")
    os.environ["PYTHONPATH"] = f"{broken}:{TOP}"
    with w.stub:
        run = w.begin()
        w.row(run, 4)
        w.wait_for(lambda: "can't be imported" in w.said)
        w.end(run)
        assert w.leave() == [run.name]
        assert w.said.count("can't be imported") == 1
        done = w.command(PYTHONPATH=os.environ["PYTHONPATH"])
        assert done.returncode == 2, done
        assert w.command().returncode == 0
    return [run]


def _on_a_full_disk(w: World, *, key: bool) -> subprocess.CompletedProcess[str]:
    """The command, where wandb's folder is on a file system of 100 kB."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        raise Skip("needs root and unshare")
    (w.runs / "wandb").mkdir()
    mounted = f"mount -t tmpfs -o size=100k none {w.runs}/wandb && exec "
    words = ["unshare", "-m", "sh", "-c", mounted + '"$@"', "sh", *MIRROR, str(w.runs)]
    return w.call(words, **({} if key else {"WANDB_API_KEY": ""}))


@case
def diverges_at_once(w: World) -> list[RunDir]:
    """a run that diverges before its first row: a result without rows"""
    with w.stub:
        run = w.begin()
        files.write_json(run.done_json, {"outcome": "diverged", "iteration": 2, "exact": True})
        w.timed(lambda: w.feed.end(run))
        w.wait_for(lambda: files.read_json(run.wandb_json)["server"]["result"])
        assert w.stub.run(run.name).summary["outcome"] == "diverged"
    return [run]


@case
def full_disk_online(w: World) -> list[RunDir]:
    """no room in wandb's folder, with a server"""
    run = _killed_at_once(w, 400)
    with w.stub:
        done = _on_a_full_disk(w, key=True)
        if done.returncode:
            assert w.command().returncode == 0, done
    return [run]


@case
def full_disk_offline(w: World) -> list[RunDir]:
    """no room in wandb's folder, without a server: said, and sent later"""
    run = _killed_at_once(w, 400)
    done = _on_a_full_disk(w, key=False)
    assert done.returncode == 1
    assert "stays behind" in done.stderr, done
    assert files.read_json(run.wandb_json)["folder"]["rows"] < 400
    with w.stub:
        assert w.command().returncode == 0
    return [run]


def _killed_at_once(w: World, rows: int) -> RunDir:
    run = w.begin()
    w.kill_follower()
    run.curves.write_text("".join(json.dumps(curve(4 * (i + 1))) + "\n" for i in range(rows)))
    w.end(run)
    return run


def check(name: str, folder: Path) -> tuple[int, int, int, float]:
    """Play one case: rows sent, lost, doubled; seconds for which training was held up."""
    with world(folder) as w:
        runs = CASES[name](w)
        counts = [w.count(run) for run in runs]
        return (*(sum(column) for column in zip(*counts, strict=True)), w.held)  # type: ignore


def main(names: list[str]) -> int:
    """Print a line a case; 1 where a row was lost or doubled."""
    print(f"{'case':80} {'sent':>5} {'lost':>5} {'doubled':>8} {'training held up':>17}")
    bad = 0
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            line = f"{name}: {(CASES[name].__doc__ or '').strip()}"[:80]
            try:
                sent, lost, doubled, held = check(name, Path(folder))
            except Skip as reason:
                print(f"{line:80} skipped: {reason}")
                continue
            bad += lost + doubled
            took = time.monotonic() - began
            print(f"{line:80} {sent:>5} {lost:>5} {doubled:>8} {1e3 * held:>14.1f} ms"
                  f"{took:>8.1f} s", flush=True)  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
