"""The mirror: each row once and in order, whatever dies; and nothing of it reaches training.

The long form, every case: `python tests/mirror_faults.py`.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.tracking import follow, sync, wandb_api
from degradation.tracking.follow import Feed, Follower
from degradation.tracking.sync import Mirror
from tests.tracking import mirror_faults
from tests.tracking.mirror_world import FOLLOW, World, cores, world
from tests.tracking.wandb_stub import KEY

QUICK = (
    "hangs_and_recovers", "cuts_and_recovers", "core_killed", "follower_killed",
    "killed_before_the_note", "worker_killed_and_resumed", "exits_with_a_backlog", "no_key",
    "no_key_then_the_command", "wrong_key", "no_wandb", "full_disk_offline",
)  # fmt: skip


@pytest.fixture
def w(tmp_path: Path):
    with world(tmp_path) as made:
        yield made


@pytest.fixture(name="settings")
def _settings(settings: Settings) -> Settings:
    return with_mode(settings, "auto")


def with_mode(settings: Settings, mode: str) -> Settings:
    machine = dataclasses.replace(settings.machine, wandb=mode)
    return dataclasses.replace(settings, machine=machine)


@pytest.fixture
def run(settings: Settings) -> RunDir:
    made = RunDir.of(settings.config, settings.machine.runs)
    made.create(settings.config)
    return made


@pytest.mark.parametrize("name", QUICK)
def test_every_row_arrives_once_and_in_order(w: World, name: str) -> None:
    try:
        runs = mirror_faults.CASES[name](w)
    except mirror_faults.Skip as reason:
        pytest.skip(str(reason))
    for one in runs:
        rows = [row["iteration"] for row in one.rows()]
        bucket = w.bucket(one)
        assert bucket is not None
        assert bucket.steps == rows
    assert w.held < 1.0  # seconds for which training waited; a few milliseconds, mostly


def test_a_run_has_its_name_group_type_tags_config_and_summary(w: World) -> None:
    with w.stub:
        run = w.begin()
        w.row(run, 3)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
        bucket = w.stub.run(run.name)
    assert bucket.fields["displayName"] == "digits-plain-8-s0"
    assert (bucket.fields["groupName"], bucket.fields["jobType"]) == ("test", "plain")
    assert {"digits", "plain", "depth-8", "seed-0"} <= set(bucket.fields["tags"])
    assert bucket.config["depth"] == 8
    assert bucket.config["run"]["recipe"]["lr"] == 0.05
    assert bucket.config["start"]["digests"]["initial"] == "i"
    assert bucket.summary["last_test_error"] == 8.3333
    assert bucket.state == "finished"
    assert bucket.rows[-1]["peak_memory_bytes"] == 2**28
    assert w.stub.unknown == []


def test_the_key_is_in_no_file_line_error_or_body(w: World) -> None:
    """Through all of the mirror's ways: sent, refused, offline, synced, fetched."""
    with w.stub:
        run = w.begin()
        w.row(run, 2)
        w.end(run)
        w.wait_for(lambda: w.complete(run))
        w.stub.mood = "forbid"
        other = w.begin(seed=1)
        w.row(other, 2)
        w.end(other)
        w.wait_for(lambda: files.read_json(other.wandb_json)["folder"]["rows"] == 2)
        told = [w.command() for _ in range(2)]
        processes = Path("/proc").glob("*/cmdline")
        words = b"".join(_read(path) for path in processes)
    told += [w.command(WANDB_API_KEY=KEY[:39])]  # too short: wandb complains about it
    texts = [w.said, *(done.stdout + done.stderr for done in told)]
    assert not any(KEY[:20] in text for text in texts)
    assert KEY.encode() not in words
    assert not any(KEY.encode() in body for body in w.stub.bytes_seen)
    written = [path for path in w.runs.parent.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if KEY[:20].encode() in path.read_bytes()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_an_error_is_one_line_without_a_key(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-another-shape")
    error = ValueError(f"bad key secret-of-another-shape and {KEY}\nand more")
    assert wandb_api.in_a_line(error) == "bad key … and …"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("returned error 401: {}", wandb_api.Refused),
        ("returned error 403: no", wandb_api.Refused),
        ("permission denied", wandb_api.Refused),
        ("context deadline exceeded", wandb_api.Unreachable),
        ("HTTP 500", wandb_api.Unreachable),
    ],
)
def test_what_wandb_raises_is_told_apart(text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind), wandb_api.in_our_words():
        raise RuntimeError(text)


def test_rows_that_differ_are_said_and_left(w: World) -> None:
    with w.stub:
        run = w.begin()
        w.row(run, 3)
        w.end(run, result=False)
        w.wait_for(lambda: files.read_json(run.wandb_json)["server"]["rows"] == 3)
        text = run.curves.read_text().replace('"train_error": 2.0', '"train_error": 3.0')
        run.curves.write_text(text)
        w.row(run)
        done = w.command()
    assert done.returncode == 1
    assert "row 1 is" in done.stderr
    assert f"delete the run team/project/{run.name} in W&B" in done.stderr


def test_runs_that_went_nowhere_are_sent_where_the_command_says(w: World) -> None:
    with w.stub:
        run = w.begin(mode="disabled")
        w.row(run, 2)
        w.end(run)
        assert w.feed.process is None
        assert w.command().stdout.startswith("0 runs sent, 0 left behind, 0 complete")
        assert w.command("--project", "later").returncode == 0
    assert w.stub.run(run.name).project == "later"


def test_nothing_is_started_where_nothing_is_wanted(settings, run) -> None:
    feed = Feed()
    feed.begin(run, with_mode(settings, "disabled"))
    feed.end(run)
    assert feed.process is None
    assert feed.leave([run]) == []
    assert not run.wandb_json.exists()


@pytest.mark.parametrize(
    ("code", "lines"),
    [("import time; time.sleep(60)", 2000), ("", 3), ("raise SystemExit(3)", 3)],
)
def test_a_process_that_does_not_listen_holds_nothing_up(
    settings, run, monkeypatch, code: str, lines: int
) -> None:
    monkeypatch.setattr(follow, "command", lambda: [sys.executable, "-c", code])
    monkeypatch.setattr(follow, "MOMENT", 0.5)
    files.append_line(run.curves, '{"iteration": 4}')
    feed = Feed()
    before = time.monotonic()
    for _ in range(lines):  # of them, 2,000 are more than a pipe takes
        feed.begin(run, settings)
        feed.end(run)
    assert time.monotonic() - before < 5
    assert feed.leave([run]) == [run.name]
    assert time.monotonic() - before < 8


def test_the_process_ends_soon_after_the_study_is_killed(w: World) -> None:
    code = f"""
import sys, time
sys.path[:0] = {[str(Path(mirror_faults.__file__).parent)]!r}
from pathlib import Path
from tests.tracking.mirror_world import *
with world(Path({str(w.runs.parent)!r})) as w:
    run = w.begin(mode="online")
    w.row(run, 2)
    print(w.feed.process.pid, flush=True)
    time.sleep(60)
"""
    study = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                             env=w.environment)  # fmt: skip
    assert study.stdout is not None
    pid = int(study.stdout.readline())
    w.wait_for(lambda: cores(pid))
    both = [pid, *cores(pid)]
    study.kill()
    study.wait()
    study.stdout.close()
    w.wait_for(lambda: not any(map(_alive, both)))


def test_a_torn_line_ends_the_process_too() -> None:
    told = subprocess.run(FOLLOW, input=b'{"run": ', timeout=60, capture_output=True)
    assert told.returncode == 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"State:\tZ" not in _read(Path(f"/proc/{pid}/status"))


def test_a_sweeps_agent_names_the_run(settings, run, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "from-outside")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    sync.note(run, settings)
    assert Mirror(run).address.id == run.name
    files.remove(run.wandb_json)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    monkeypatch.setenv("WANDB_PROJECT", "swept")
    sync.note(run, settings)
    monkeypatch.setenv("WANDB_RUN_ID", "another")
    sync.note(run, settings)
    assert (Mirror(run).address.id, Mirror(run).address.project) == ("from-outside", "swept")


def test_another_project_is_sent_everything(settings, run) -> None:
    sync.note(run, settings)
    noted = files.read_json(run.wandb_json) | {"server": {"rows": 9, "result": True}}
    files.write_json(run.wandb_json, noted | {"entity": "team"})
    sync.note(run, settings)
    assert Mirror(run).note["server"]["rows"] == 9
    machine = dataclasses.replace(settings.machine, wandb_project="other")
    sync.note(run, dataclasses.replace(settings, machine=machine))
    assert Mirror(run).note["server"]["rows"] == 0


@pytest.mark.parametrize(
    ("wanted", "variable", "key", "online"),
    [
        ("auto", None, False, False),
        ("auto", None, True, True),
        ("auto", "disabled", True, False),
        ("offline", "online", True, False),
        ("online", None, False, True),
    ],
)
def test_the_mode_is_chosen_without_asking(
    monkeypatch, wanted: str, variable: str | None, key: bool, online: bool
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    monkeypatch.setattr(wandb_api, "has_key", lambda: key)
    assert wandb_api.online(wanted) is online


def test_a_server_is_asked_again_after_longer_and_longer_pauses(run, settings, monkeypatch) -> None:
    sync.note(run, settings)
    clock, tried = [0.0], []

    def push(self: Mirror, to_server: bool, *, all_of_them: bool) -> None:
        tried.append(clock[0])
        raise wandb_api.Unreachable("no route")

    monkeypatch.setattr(Mirror, "push", push)
    monkeypatch.setattr(Mirror, "abandon", lambda self: None)
    monkeypatch.setattr(wandb_api, "online", lambda mode: True)
    follower = Follower(lambda: clock[0])
    follower.hear({"run": str(run.folder), "tensorboard": False})
    for _ in range(60):
        follower.work()
        clock[0] += 1
    assert tried == [0, 2, 6, 14, 30]


def test_a_row_waits_for_its_figures(run, settings, monkeypatch) -> None:
    """timing.jsonl has them a moment later."""
    sync.note(run, settings)
    sent: list[int] = []
    monkeypatch.setattr(Mirror, "_open", lambda self, to: setattr(self, "opened", 1))
    monkeypatch.setattr(wandb_api, "log", lambda opened, row: sent.append(row["iteration"]))
    one = Mirror(run)
    for iteration in (4, 8):
        row = {"iteration": iteration, "train_error": 1.0, "test_error": 1.0}
        files.append_line(run.curves, json.dumps(row))
    files.append_line(run.timing_jsonl, '{"iteration": 4, "seconds": 1.0}')
    one.push(True, all_of_them=False)
    assert sent == [4]
    files.append_line(run.timing_jsonl, '{"iteration": 8, "seconds": 1.0}')
    one.push(True, all_of_them=False)
    assert sent == [4, 8]


def test_tensorboard_gets_each_row_once_however_often_it_is_begun(w: World) -> None:
    pytest.importorskip("tensorboard")
    settings = with_mode(w.settings(), "disabled")
    machine = dataclasses.replace(settings.machine, tensorboard=True)
    settings = dataclasses.replace(settings, machine=machine)
    run = RunDir.of(settings.config, w.runs)
    run.create(settings.config)
    for _ in range(2):
        w.row(run, 2)
        w.feed.begin(run, settings)
        w.wait_for(lambda: list(run.folder.glob("tensorboard/*")))
        w.feed.end(run)
        w.feed.process.stdin.close()
        w.feed.process.wait()
        w.feed.process = None
    code = f"""
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator({str(run.folder / "tensorboard")!r}).Reload()
print([e.step for e in found.Tensors("train_error")])
"""
    assert w.call([sys.executable, "-c", code]).stdout.strip() == "[4, 8, 12, 16]"


def test_the_command_that_is_killed_leaves_the_lock(w: World) -> None:
    """The kernel lets go of it, so that the next one goes on at once."""
    run = w.begin()
    w.kill_follower()
    w.row(run, 2)
    code = f"""
import os
from pathlib import Path
from degradation import storage
with storage.lock(Path({str(run.wandb_lock)!r})):
    os.kill(os.getpid(), {signal.SIGKILL})
"""
    w.call([sys.executable, "-c", code])
    with w.stub:
        assert w.command().returncode == 0
