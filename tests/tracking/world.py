"""What the tests of tracking share: a server's double, run folders to write rows into, and the real
processes that send them, with shorter timeouts."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP
from degradation.tracking import sync
from degradation.tracking.sync import Sync
from tests.conftest import small
from tests.tracking.wandb_stub import Stub

IMPATIENT = """
import sys
from degradation.tracking import sync, wandb_api
wandb_api.READ_TIMEOUT = 2
wandb_api.SETTINGS |= {"init_timeout": 1.5, "finish_timeout": 1.5}
wandb_api.SETTINGS["x_file_stream_transmit_interval"] = 1.0
sync.POLL, sync.RETRY, sync.LINGER = 0.1, 0.2, 8.0
from degradation.commands import exit_status
sys.exit(exit_status.run(sync.main, sys.argv[1:]))
"""
LAUNCH = {
    "commit": "c",
    "digests": {"initial": "i", "stream": "s"},
    "fingerprint": {"device": "cpu"},
    "parameters": 7,
}
COMMAND = [sys.executable, "-c", IMPATIENT]


class World:
    """A folder of runs, a server, and what a study holds to send rows."""

    def __init__(self, folder: Path) -> None:
        self.stub = Stub()
        with self.stub:  # for its port
            pass
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.sync = Sync()
        self.output = folder / "output"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("WANDB_")},
            **self.stub.environment,
            "PYTHONPATH": str(TOP),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }

    def create(self, seed: int = 0, mode: str = "auto") -> tuple[RunDir, schema.Settings]:
        """The folder of a run that begins to train, or goes on."""
        machine = schema.Machine(
            device="cpu",
            threads=1,
            runs=str(self.runs),
            progress="none",
            resume="exact",
            wandb=mode,
            wandb_project="project",
            wandb_entity=None,
        )
        config = dataclasses.replace(small(seed=seed), study="test")
        run = RunDir.of(config, self.runs)
        run.create(config)
        files.append_line(run.launches_jsonl, json.dumps(LAUNCH))
        return run, schema.Settings(config, machine)

    def start(self, seed: int = 0, mode: str = "auto") -> RunDir:
        run, settings = self.create(seed, mode)
        self.sync.start([(run, settings)])
        return run

    def row(self, run: RunDir, count: int = 1) -> None:
        """The next rows, as a worker writes them."""
        for _ in range(count):
            iteration = 4 * (len(run.rows()) + 1)
            files.append_line(run.curves, json.dumps(curve(iteration)))
            files.append_line(run.timing_jsonl, json.dumps(timing(iteration)))

    def end(self, run: RunDir, *, result: bool = True) -> None:
        """Its process ends, with or without a result."""
        if result:
            done = {
                "outcome": "done",
                "iteration": run.rows()[-1]["iteration"],
                "exact": True,
                "last": run.rows()[-1],
                "curves_sha256": files.sha256_of(run.curves),
            }
            files.write_json(run.done_json, done)
        self.sync.end()

    def train(self, rows: int, seed: int = 0, *, mode: str = "auto", result: bool = True) -> RunDir:
        """A run from its start to its end, and to the end of the process that sends its rows."""
        run = self.start(seed, mode)
        self.row(run, rows)
        self.end(run, result=result)
        for sender in self.sync.senders:
            sender.wait(30)
        return run

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`degradation sync`."""
        return self.call([*COMMAND, str(self.runs), *words], **environment)

    def call(self, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            cwd=self.runs.parent,
            timeout=120,
        )

    def wandb_sync(self) -> None:
        """`wandb sync` of all offline folders."""
        folders = sorted(map(str, self.runs.glob("wandb/offline-run-*")))
        with self.stub:
            done = self.call([sys.executable, "-m", "wandb", "sync", *folders])
        assert done.returncode == 0, done.stderr

    def steps(self, run: RunDir) -> list[int]:
        """The steps of the rows that the server has."""
        bucket = self.stub.buckets.get(run.name)
        return bucket.steps if bucket else []

    def wait_for(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"waited too long\n{self.messages}"
            time.sleep(0.02)

    def kill_senders(self) -> None:
        """SIGKILL to the processes that send, and to wandb's own."""
        for sender in self.sync.senders:
            os.killpg(sender.pid, signal.SIGKILL)
            sender.wait()

    @property
    def messages(self) -> str:
        """What the processes that send have printed."""
        return self.output.read_text() if self.output.exists() else ""


def curve(iteration: int) -> dict[str, object]:
    """A row whose numbers are as awkward as real ones."""
    return {
        "iteration": iteration,
        "epoch": round(iteration / 3, 4),
        "lr": 1e-05,
        "train_loss": 0.1 + 0.2,
        "train_error": 2.0,
        "test_loss": None,
        "test_error": round(100 / iteration, 4),
    }


def timing(iteration: int) -> dict[str, object]:
    return {
        "iteration": iteration,
        "seconds": 0.5,
        "evaluation_seconds": 0.25,
        "images_per_second": 128.0,
        "peak_memory_bytes": 2**28,
        "at": "2026-01-01T00:00:00Z",
    }


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """A world whose study starts impatient processes, and that leaves none behind."""
    made = World(folder)
    before, environment = sync.FOLLOW, dict(os.environ)
    shell = ["sh", "-c", f'exec "$@" 2>>{made.output}', "sh"]
    sync.FOLLOW = [*shell, *COMMAND, "--follow"]
    os.environ.clear()
    os.environ.update(made.environment)
    try:
        yield made
    finally:
        sync.FOLLOW = before
        os.environ.clear()
        os.environ.update(environment)
        for sender in made.sync.senders:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(sender.pid, signal.SIGKILL)
        made.sync.finish([])
