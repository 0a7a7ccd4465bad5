"""Sending rows to W&B: each once and in order, whatever dies, and training never waits for it."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from degradation.config.schema import Settings
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.tracking import keys, sync, wandb_api
from degradation.tracking.sync import Sync
from degradation.tracking.upload import Upload, read_note, write_note
from tests.tracking.wandb_stub import KEY
from tests.tracking.world import World, world


@pytest.fixture
def w(tmp_path: Path):
    with world(tmp_path) as made:
        yield made


@pytest.fixture(name="settings")
def _settings(settings: Settings) -> Settings:
    return with_machine(settings, wandb="auto")


def with_machine(settings: Settings, **changes: object) -> Settings:
    return dataclasses.replace(settings, machine=dataclasses.replace(settings.machine, **changes))


@pytest.fixture
def run(settings: Settings) -> RunDir:
    made = RunDir.of(settings.config, settings.machine.runs)
    made.create(settings.config)
    return made


def assert_all_there(w: World, *runs: RunDir) -> None:
    for run in runs:
        assert w.steps(run) == [row["iteration"] for row in run.rows()]


def test_rows_of_two_runs_arrive_while_they_train_with_all_that_names_them(w: World) -> None:
    with w.stub:
        together = [w.create(seed) for seed in (0, 1)]
        w.sync.start(together)
        run, other = (run for run, _ in together)
        for one in (run, other):
            w.row(one, 2)
        w.wait_for(lambda: w.steps(run) == w.steps(other) == [4, 8])
        w.row(run, 1)
        w.end(run)
        w.end(other, result=False)
        assert w.sync.finish([run, other]) == []
        assert_all_there(w, run, other)
        done = w.command()
        assert done.stdout.startswith("0 runs sent, 0 left behind, 2 were complete"), done.stderr
    bucket = w.stub.run(run.name)
    assert bucket.fields["displayName"] == "digits-plain-8-s0"
    assert (bucket.fields["groupName"], bucket.fields["jobType"]) == ("test", "plain")
    assert {"digits", "plain", "depth-8", "seed-0"} <= set(bucket.fields["tags"])
    assert bucket.config["run"]["recipe"]["lr"] == 0.05
    assert bucket.config["launch"]["digests"]["initial"] == "i"
    assert bucket.summary["last_test_error"] == 8.3333
    assert bucket.state == "finished"
    assert bucket.rows[-1]["peak_memory_bytes"] == 2**28
    assert (w.stub.unknown, bucket.overwritten) == ([], [])


def test_a_sender_killed_between_log_and_note_costs_and_doubles_nothing(w: World) -> None:
    with w.stub:
        run = w.start()
        w.row(run, 3)
        w.wait_for(lambda: w.steps(run) == [4, 8, 12])
        w.kill_senders()
        w.row(run, 2)
        w.end(run)
        assert read_note(run).rows == 0
        assert w.sync.finish([run]) == [run.name]
        done = w.command()
    assert done.returncode == 0, done.stderr
    assert_all_there(w, run)
    assert w.stub.run(run.name).overwritten == []


@pytest.mark.parametrize(
    "mood",
    [
        "hang",
        pytest.param("off", marks=pytest.mark.slow),
        pytest.param("error", marks=pytest.mark.slow),
    ],
)
def test_a_dead_server_delays_nothing(w: World, monkeypatch, mood: str) -> None:
    monkeypatch.setattr(sync, "GRACE", 1.0)
    w.stub.mood = mood
    before = time.monotonic()
    with contextlib.nullcontext() if mood == "off" else w.stub:
        run = w.start()
        w.row(run, 3)
        w.end(run)
        assert w.sync.finish([run]) == [run.name]
        w.stub.mood = "well"
    assert time.monotonic() - before < 4
    with w.stub:
        assert w.command().returncode == 0
    assert_all_there(w, run)


@pytest.mark.slow
def test_a_server_that_comes_late_gets_all_rows_while_training_goes_on(w: World) -> None:
    run = w.start()
    w.row(run, 3)
    w.wait_for(lambda: "out of reach" in w.messages)
    with w.stub:
        w.wait_for(lambda: len(w.steps(run)) == 3)
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
    w.wandb_sync()
    assert [keys.row_of(row) for row in w.stub.run(run.name).rows] == run.rows()


@pytest.mark.slow
def test_a_key_that_comes_later_takes_the_place_of_the_offline_folder(w: World) -> None:
    os.environ.pop("WANDB_API_KEY")
    run = w.train(5)
    assert list(w.runs.glob("wandb/offline-run-*"))
    with w.stub:
        assert w.command().returncode == 0
    assert not list(w.runs.glob("wandb/offline-run-*"))  # `wandb sync` would send it once more
    assert_all_there(w, run)


@pytest.mark.slow
def test_a_refused_key_and_a_missing_library_are_said_once_and_cost_nothing(w: World) -> None:
    broken = w.runs.parent / "broken"
    broken.mkdir()
    (broken / "wandb.py").write_text("raise ImportError('no such module')")
    with w.stub:
        w.stub.mood = "forbid"
        refused = w.train(2)
        w.stub.mood = "well"
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
def test_nothing_is_started_where_w_and_b_is_disabled(w: World, mode: str, variable: str) -> None:
    os.environ["WANDB_MODE"] = variable
    run = w.train(2, mode=mode)
    assert w.sync.senders == []
    assert not run.wandb_json.exists()
    assert w.sync.finish([run]) == []


@pytest.mark.slow
def test_the_sender_ends_soon_after_the_study_is_killed(w: World) -> None:
    code = f"""
import time
from pathlib import Path
from tests.tracking.world import World, world
with world(Path({str(w.runs.parent / "other")!r})) as w:
    run = w.start(mode="online")
    print(w.sync.senders[0].pid, flush=True)
    time.sleep(60)
"""
    (w.runs.parent / "other").mkdir()
    study = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=w.environment
    )
    assert study.stdout is not None
    pid = int(study.stdout.readline())
    study.kill()
    study.wait()
    study.stdout.close()
    w.wait_for(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_row_waits_for_its_timing(run, settings, monkeypatch) -> None:
    sent: list[int] = []

    class Opened:
        starting_step = 0

        def log(self, row: dict[str, float], step: int, commit: bool) -> None:
            sent.append(step)

    write_note(run, settings)
    monkeypatch.setattr(wandb_api, "online", lambda mode: True)
    monkeypatch.setattr(wandb_api, "open_run", lambda *_, **__: Opened())
    upload = Upload(run, read_note(run))
    for iteration in (4, 8):
        row = {"iteration": iteration, "train_error": 1.0, "test_error": 1.0}
        files.append_line(run.curves, json.dumps(row))
    for timed, expected in ((4, [4]), (8, [4, 8])):
        files.append_line(run.timing_jsonl, json.dumps({"iteration": timed, "seconds": 1.0}))
        upload.send(final=False)
        assert sent == expected


def test_a_process_that_cannot_start_or_does_not_read_delays_nothing(
    settings, run, monkeypatch
) -> None:
    monkeypatch.setattr(sync, "GRACE", 0.2)
    files.append_line(run.curves, '{"iteration": 4, "train_error": 1.0, "test_error": 1.0}')
    before = time.monotonic()
    for command in (["/no/such/program"], ["sleep", "60"], ["false"]):
        monkeypatch.setattr(sync, "FOLLOW", command)
        study = Sync()
        study.start([(run, settings)])
        study.end()
        assert study.finish([run]) == [run.name]
    assert time.monotonic() - before < 3


def test_another_project_is_sent_everything(settings, run) -> None:
    write_note(run, settings)
    note = dataclasses.replace(read_note(run), rows=9, entity="team")
    files.write_json(run.wandb_json, dataclasses.asdict(note))
    write_note(run, settings)
    assert read_note(run).rows == 9
    write_note(run, with_machine(settings, wandb_project="other"))
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
