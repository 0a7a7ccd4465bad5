"""A run in a process of its own: however that ends, it is named, and signals reach it."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from degradation.config.schema import Settings
from degradation.launch import process
from degradation.launch.stopping import Interrupted, Stopping
from degradation.runs.run_dir import RunDir, runs_in
from tests.conftest import wait_until
from tests.training.train_here import created


@pytest.fixture(autouse=True)
def stopping(monkeypatch) -> Stopping:
    """No test starts with a request to stop, or leaves one to the processes of later tests."""
    monkeypatch.setattr(Stopping, "_tell_pool", lambda *_: None)
    monkeypatch.setattr(process, "stopping", Stopping())
    return process.stopping


def run_with(monkeypatch, settings: Settings, code: str) -> RunDir:
    """Let a stub take the worker's place; it finds the run's folder in `folder`."""
    run = RunDir.of(settings.config, settings.machine.runs)
    head = f"import os, pathlib, signal, sys, time; folder = pathlib.Path({str(run.folder)!r})"
    monkeypatch.setattr(process, "command", lambda *_: [sys.executable, "-c", f"{head}\n{code}"])
    process.train_alone(settings)
    return run


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(0)", "left with status 0 and no result"),
        ("sys.exit(7)", "left with status 7 and no result"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL; often the system is out of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
    ],
)
def test_every_end_without_a_result_is_named(monkeypatch, settings, code: str, reason: str) -> None:
    run = run_with(monkeypatch, settings, code)
    assert run.state() == "failed"
    assert reason in run.failure()["message"]


def test_a_finished_run_is_not_started(monkeypatch, settings) -> None:
    run = created(settings.config, settings.machine)
    run.done_json.write_text('{"outcome": "done"}')
    run_with(monkeypatch, settings, '(folder / "started").touch()')
    assert not (run.folder / "started").exists()


def test_a_folder_of_another_run_is_left_alone(monkeypatch, settings, small, caplog) -> None:
    run = RunDir.of(settings.config, settings.machine.runs)
    run.create(small(recipe__lr=0.5))
    before = run.config_json.read_bytes()
    run_with(monkeypatch, settings, '(folder / "started").touch()')
    assert run.config_json.read_bytes() == before
    assert not (run.folder / "started").exists()
    assert "recipe.lr: 0.5 → 0.05" in caplog.text


STUB = """
import os, pathlib, signal, sys
folders = [pathlib.Path(folder) for folder in sys.argv[1:]]
if len(folders) > 1:
    os.kill(os.getpid(), signal.SIGKILL)
(folders[0] / "gpu").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
(folders[0] / "done.json").write_text('{"outcome": "done"}')
"""


def test_each_group_has_its_gpu_and_what_a_dead_process_leaves_goes_on_alone(
    monkeypatch, settings, small
) -> None:
    runs = [Settings(small(seed=seed), settings.machine) for seed in range(3)]
    stub = [sys.executable, "-c", STUB]
    monkeypatch.setattr(process, "command", lambda runs, _: [*stub, *(str(r.folder) for r in runs)])
    process.train_groups([process.Group(runs[:2], "MIG-a"), process.Group(runs[2:], "MIG-b")])
    folders = [RunDir.of(one.config, one.machine.runs) for one in runs]
    assert [run.state() for run in folders] == ["done"] * 3
    assert [(run.folder / "gpu").read_text() for run in folders] == ["MIG-a", "MIG-a", "MIG-b"]


def test_a_signal_reaches_the_process_and_is_waited_for(monkeypatch, settings, stopping) -> None:
    code = (
        "def save(*_):\n"
        "    time.sleep(0.3); (folder / 'saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save); (folder / 'ready').touch(); time.sleep(60)"
    )
    folder = RunDir.of(settings.config, settings.machine.runs).folder

    def ask() -> None:
        wait_until((folder / "ready").exists)
        stopping.receive(signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Interrupted) as stopped:
        run_with(monkeypatch, settings, code)
    asking.join()
    assert stopped.value.number == signal.SIGTERM
    assert (folder / "saved").exists()
    assert not (folder / "failed.json").exists()


def test_a_signal_that_came_while_the_process_was_being_started_reaches_it(
    monkeypatch, settings, stopping
) -> None:
    start = subprocess.Popen

    def slow(*args, **named):
        stopping.receive(signal.SIGTERM)  # before there is anything to pass it on to
        return start(*args, **named)

    monkeypatch.setattr(subprocess, "Popen", slow)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_with(monkeypatch, settings, "time.sleep(60)")
    assert time.monotonic() - began < 30


LATE = """
import multiprocessing, signal, time
from degradation.launch.stopping import stopping
stopping.receive(signal.SIGTERM)
late = multiprocessing.get_context("spawn").Process(target=time.sleep, args=[60])
late.start()
late.join(30)
print(late.exitcode)
"""


def test_a_stop_reaches_processes_that_a_launcher_starts_later() -> None:
    told = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True)
    assert told.stdout == f"-{signal.SIGTERM:d}\n", told.stderr


LISTENING = """
import multiprocessing, os, signal, sys, threading, time
from degradation.launch.stopping import stopping
stopping.listen()
from multiprocessing import resource_tracker
resource_tracker.ensure_running()
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.5)
print(stopping.signal, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
"""


def test_who_listens_is_interrupted_by_nothing() -> None:
    """Not even once Python's own helper has let the signals through, as it does in 3.11."""
    told = subprocess.run([sys.executable, "-c", LISTENING], capture_output=True, text=True)
    assert told.stdout.startswith("2 "), told.stderr
    assert "SIGINT" in told.stdout and "SIGTERM" in told.stdout


def test_the_process_ends_when_the_study_is_killed(tmp_path: Path, small) -> None:
    """SIGKILL leaves no time to pass anything on: the kernel tells the worker."""
    runs = tmp_path / "runs"
    settings = "data=digits depth=8 recipe.iterations=5000 recipe.milestones=[] machine.device=cpu"
    words = [*settings.split(), f"machine.runs={runs}", "machine.wandb=disabled"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    study = subprocess.Popen([sys.executable, "-m", "degradation.run", *words], **quiet)
    wait_until(lambda: any(runs.glob("*/curves.jsonl")))
    [run] = runs_in(runs)
    assert run.state() == "running"
    study.kill()
    study.wait()
    wait_until(lambda: run.state() == "partial")
    assert any(run.checkpoints.iterdir())


def test_a_process_sees_its_gpu_alone_and_a_deterministic_cublas() -> None:
    env = process.environment(3, "MIG-a")
    assert env["CUDA_VISIBLE_DEVICES"] == "MIG-a"
    assert env["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert env["OMP_NUM_THREADS"] == "3"
