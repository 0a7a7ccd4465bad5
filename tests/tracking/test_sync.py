"""Sending rows to W&B: each once and in order, whatever dies, and training never waits for it."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.tracking import keys, sync, wandb_api
from degradation.tracking.upload import Upload, read_note, write_note
from tests.conftest import is_running, wait_until
from tests.tracking.conftest import COMMAND, KEY, World, curve


def assert_all_there(w: World, *runs: RunDir) -> None:
    for run in runs:
        assert w.steps(run) == [row["iteration"] for row in run.rows()]


def test_rows_of_two_runs_arrive_while_they_train_with_all_that_names_them(w: World) -> None:
    with w.server:
        together = [w.create(seed) for seed in (0, 1)]
        w.sync.start(together)
        run, other = (run for run, _ in together)
        for one in (run, other):
            w.row(one, 2)
        wait_until(lambda: w.steps(run) == w.steps(other) == [4, 8])
        w.row(run, 1)
        w.end(run)
        w.end(other, result=False)
        assert w.sync.finish([run, other]) == []
        assert_all_there(w, run, other)
        done = w.command()
        assert done.stdout.startswith("0 runs sent, 0 left behind, 2 were complete"), done.stderr
    bucket = w.server.buckets[run.name]
    assert bucket.fields["displayName"] == "digits-plain-8-s0"
    assert (bucket.fields["groupName"], bucket.fields["jobType"]) == ("test", "plain")
    assert {"digits", "plain", "depth-8", "seed-0"} <= set(bucket.fields["tags"])
    assert bucket.config["run"]["recipe"]["lr"] == 0.05
    assert bucket.config["launch"]["digests"]["initial"] == "i"
    assert bucket.summary["last_test_error"] == 8.3333
    assert bucket.rows[-1]["peak_memory_bytes"] == 2**28
    assert (bucket.state, bucket.overwritten) == ("finished", [])


def test_a_sender_killed_between_log_and_note_costs_and_doubles_nothing(w: World) -> None:
    with w.server:
        run = w.start()
        w.row(run, 3)
        wait_until(lambda: w.steps(run) == [4, 8, 12])
        w.kill_senders()
        w.row(run, 2)
        w.end(run)
        assert read_note(run).rows == 0
        assert w.sync.finish([run]) == [run.name]
        done = w.command()
    assert done.returncode == 0, done.stderr
    assert_all_there(w, run)
    assert w.server.buckets[run.name].overwritten == []


SLOW = [pytest.param(mood, marks=pytest.mark.slow) for mood in ("off", "error")]


@pytest.mark.parametrize("mood", ["hang", *SLOW])
def test_a_dead_server_delays_nothing(w: World, monkeypatch, mood: str) -> None:
    monkeypatch.setattr(sync, "GRACE", 1.0)
    w.server.mood = mood
    before = time.monotonic()
    with contextlib.nullcontext() if mood == "off" else w.server:
        run = w.start()
        w.row(run, 3)
        w.end(run)
        assert w.sync.finish([run]) == [run.name]
        w.server.mood = "well"
    assert time.monotonic() - before < 4
    with w.server:
        assert w.command().returncode == 0
    assert_all_there(w, run)


@pytest.mark.slow
def test_a_server_that_comes_late_gets_all_rows_while_training_goes_on(w: World) -> None:
    run = w.start()
    w.row(run, 3)
    wait_until(lambda: "out of reach" in w.messages)
    with w.server:
        wait_until(lambda: len(w.steps(run)) == 3)
        w.row(run)
        w.end(run)
        assert w.sync.finish([run]) == []
    assert_all_there(w, run)


@pytest.mark.slow
def test_offline_rows_equal_curves_jsonl_also_of_a_resumed_run(w: World) -> None:
    os.environ.pop("WANDB_API_KEY")
    run = w.train(3, result=False)
    w.train(2)  # goes on
    assert read_note(run).rows == 5
    with w.server:
        folders = map(str, sorted(w.runs.glob("wandb/offline-run-*")))
        assert w.call([sys.executable, "-m", "wandb", "sync", *folders]).returncode == 0
    assert [keys.row_of(row) for row in w.server.buckets[run.name].rows] == run.rows()


def test_a_project_given_later_gets_the_rows_of_a_run_that_W_and_B_did_not_know(w: World) -> None:
    run = w.train(2, mode="disabled")
    with w.server:
        assert w.command("--project", "project").stdout.startswith("1 runs sent")
    assert_all_there(w, run)
    w.environment.pop("WANDB_API_KEY")
    offline = w.train(2, seed=1, mode="disabled")
    assert "1 runs written offline" in w.command("--project", "project").stdout
    assert read_note(offline).rows == 2 and list(w.runs.glob(f"wandb/offline-run-*-{offline.name}"))


@pytest.mark.slow
def test_a_key_that_comes_later_takes_the_place_of_the_offline_folder(w: World) -> None:
    os.environ.pop("WANDB_API_KEY")
    run = w.train(5)
    assert list(w.runs.glob("wandb/offline-run-*"))
    with w.server:
        assert w.command().returncode == 0
    assert not list(w.runs.glob("wandb/offline-run-*"))  # `wandb sync` would send it once more
    assert_all_there(w, run)


@pytest.mark.slow
def test_a_refused_key_and_a_missing_library_are_said_once_and_cost_nothing(w: World) -> None:
    broken = w.runs.parent / "broken"
    broken.mkdir()
    (broken / "wandb.py").write_text("raise ImportError('no such module')")
    with w.server:
        w.server.mood = "forbid"
        refused = w.train(2)
        w.server.mood = "well"
        os.environ["PYTHONPATH"] = f"{broken}:{os.environ['PYTHONPATH']}"
        absent = w.train(2, seed=1)
        assert w.messages.count("W&B gets no rows") == 2
        assert "can't be imported" in w.messages
        assert KEY[:20] not in w.messages
        assert w.command().returncode == 0
    assert_all_there(w, refused, absent)
    written = [path for path in w.runs.parent.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY[:20].encode() in path.read_bytes()]


@pytest.mark.parametrize(("mode", "variable"), [("disabled", ""), ("auto", "disabled")])
def test_nothing_is_started_where_w_and_b_is_disabled(w: World, mode, variable, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", variable)
    run = w.train(2, mode=mode)
    assert w.sync.senders == []
    assert not run.wandb_json.exists()
    assert w.sync.finish([run]) == []


STUDY = f"""
import sys, time
from pathlib import Path
from degradation.tracking import sync
from tests.tracking.conftest import World
sync.FOLLOW = {[*COMMAND, "--follow"]}
w = World(Path(sys.argv[1]))
w.start(mode="online")
print(w.sync.senders[0].pid, flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_the_sender_ends_soon_after_the_study_is_killed(w: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    words = [sys.executable, "-c", STUDY, str(tmp_path / "other")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=w.environment) as study:
        sender = int(study.stdout.readline())
        study.kill()
    wait_until(lambda: not is_running(sender))


def test_a_row_waits_for_its_timing(w: World, monkeypatch) -> None:
    sent: list[int] = []
    opened = SimpleNamespace(starting_step=0, log=lambda row, step, commit: sent.append(step))
    run, settings = w.create()
    write_note(run, settings)
    monkeypatch.setattr(wandb_api, "has_key", lambda: True)
    monkeypatch.setattr(wandb_api, "open_run", lambda *_, **__: opened)
    upload = Upload(run, read_note(run))
    for iteration in (4, 8):
        files.append_line(run.curves, json.dumps(curve(iteration)))
    for timed, expected in ((4, [4]), (8, [4, 8])):
        files.append_line(run.timing_jsonl, json.dumps({"iteration": timed, "seconds": 1.0}))
        upload.send(final=False)
        assert sent == expected


def test_a_process_that_cannot_start_or_does_not_read_delays_nothing(w: World, monkeypatch) -> None:
    monkeypatch.setattr(sync, "GRACE", 0.2)
    before = time.monotonic()
    for command in (["/no/such/program"], ["sleep", "60"], ["false"]):
        monkeypatch.setattr(sync, "FOLLOW", command)
        run = w.start()
        w.row(run)
        w.sync.end()
        assert w.sync.finish([run]) == [run.name]
    assert time.monotonic() - before < 3


def test_another_project_is_sent_everything(w: World) -> None:
    run, settings = w.create()
    write_note(run, settings)
    note = dataclasses.replace(read_note(run), rows=9, entity="team")
    files.write_json(run.wandb_json, dataclasses.asdict(note))
    write_note(run, settings)
    assert read_note(run).rows == 9
    machine = dataclasses.replace(settings.machine, wandb_project="other")
    write_note(run, dataclasses.replace(settings, machine=machine))
    assert read_note(run).rows == 0


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("returned error 401: {}", True),
        ("permission denied", True),
        ("context deadline exceeded", False),
        (f"bad key secret-of-another-shape and {KEY}\nand more", False),
    ],
)
def test_an_error_is_one_line_without_a_key(monkeypatch, text: str, refused: bool) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-another-shape")
    with pytest.raises(wandb_api.TrackingError) as error, wandb_api.tracking_errors():
        raise RuntimeError(text)
    assert isinstance(error.value, wandb_api.RefusedError) is refused
    assert "secret" not in str(error.value) and KEY not in str(error.value)
    assert "\n" not in str(error.value)
