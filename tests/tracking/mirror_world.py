"""What the tests of the mirror share: a server's double, run folders to write rows into, and the
real processes that send them, with less patience than in earnest."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from degradation.config import schema
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.tracking.follow import Feed
from tests.conftest import small
from tests.tracking.wandb_stub import Bucket, Stub

TOP = Path(__file__).resolve().parents[2]
IMPATIENT = """
import sys
from degradation import follow, mirror, remote
remote.INIT_TIMEOUT, remote.FINISH_TIMEOUT, remote.READ_TIMEOUT = 1.5, 1.5, 2
remote.TRANSMIT, remote.RETRIES = 1.0, (1.0, 1.0)  # wandb takes whole seconds
follow.POLL, follow.FIRST_PAUSE, follow.LINGER = 0.1, 0.2, 8.0
"""
FOLLOW = [sys.executable, "-c", IMPATIENT + "sys.exit(follow.main())"]
MIRROR = [sys.executable, "-c", IMPATIENT + "sys.exit(mirror.main(sys.argv[1:]))"]
WAIT = 30.0


class World:
    """A folder of runs, a server, and the feed that a study would hold."""

    def __init__(self, folder: Path) -> None:
        self.stub = Stub()
        with self.stub:  # for its port
            pass
        self.runs = folder / "runs"
        self.feed = Feed()
        self.held = 0.0
        """Seconds for which the feed has held training up."""
        self.spoken = folder / "spoken"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("WANDB_")},
            **self.stub.environment, "PYTHONPATH": str(TOP), "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "config"),
        }  # fmt: skip

    def settings(self, seed: int = 0, mode: str = "auto") -> schema.Settings:
        machine = schema.Machine(
            device="cpu", threads=1, runs=str(self.runs), progress="none", resume="exact",
            wandb=mode, wandb_project="project", wandb_entity=None,
        )  # fmt: skip
        config = dataclasses.replace(small(seed=seed), study="test")
        return schema.Settings(config, machine)

    def begin(self, seed: int = 0, mode: str = "auto") -> RunDir:
        """A run begins to train, or goes on."""
        settings = self.settings(seed, mode)
        run = RunDir.of(settings.config, self.runs)
        run.create(settings.config)
        start = {"commit": "c", "digests": {"initial": "i", "stream": "s"},
                 "fingerprint": {"device": "cpu"}, "parameters": 7}  # fmt: skip
        files.append_line(run.launches_jsonl, json.dumps(start))
        self.timed(lambda: self.feed.begin(run, settings))
        return run

    def timed(self, call: Callable[[], None]) -> None:
        before = time.perf_counter()
        call()
        self.held += time.perf_counter() - before

    def row(self, run: RunDir, count: int = 1, pause: float = 0.0) -> None:
        """The next rows, as a worker writes them."""
        for _ in range(count):
            iteration = 4 * (len(run.rows()) + 1)
            files.append_line(run.curves, json.dumps(curve(iteration)))
            files.append_line(run.timing_jsonl, json.dumps(timing(iteration)))
            time.sleep(pause)

    def end(self, run: RunDir, *, result: bool = True) -> None:
        if result:
            sha256 = files.sha256_of(run.curves)
            files.write_json(run.done_json, {
                "outcome": "done", "iteration": run.rows()[-1]["iteration"], "exact": True,
                "last": run.rows()[-1], "curves_sha256": sha256})  # fmt: skip
        self.timed(lambda: self.feed.end(run))

    def leave(self) -> list[str]:
        """The study ends; what it says W&B lacks."""
        return self.feed.leave([RunDir(path.parent) for path in self.runs.glob("*/config.json")])

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`degradation sync`."""
        return self.call([*MIRROR, str(self.runs), *words], **environment)

    def call(self, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=self.environment | environment, capture_output=True,
                              text=True, cwd=self.runs.parent, timeout=120)  # fmt: skip

    def bucket(self, run: RunDir) -> Bucket | None:
        return self.stub.buckets.get(run.name)

    def arrived(self, run: RunDir) -> int:
        bucket = self.bucket(run)
        return len(bucket.lines) if bucket else 0

    def wait_for(self, condition: Callable[[], object], seconds: float = WAIT) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"waited too long\n{self.said}"
            time.sleep(0.02)

    def complete(self, run: RunDir) -> bool:
        told = files.read_json(run.wandb_json)["server"]
        return bool(told["rows"] == len(run.rows()) and told["result"])

    def kill_core(self) -> None:
        """SIGKILL to wandb's own process."""
        assert self.feed.process is not None
        self.wait_for(lambda: cores(self.feed.process.pid))
        for pid in cores(self.feed.process.pid):
            os.kill(pid, signal.SIGKILL)

    def kill_follower(self) -> None:
        """SIGKILL to the process that follows, and to wandb's."""
        assert self.feed.process is not None
        os.killpg(self.feed.process.pid, signal.SIGKILL)
        self.feed.process.wait()

    @property
    def said(self) -> str:
        """What the processes of the feed have said."""
        return self.spoken.read_text() if self.spoken.exists() else ""

    def count(self, run: RunDir) -> tuple[int, int, int]:
        """Rows on the server, lost, doubled or in the wrong order."""
        bucket, rows = self.bucket(run), [row["iteration"] for row in run.rows()]
        steps = bucket.steps if bucket else []
        lost = len(set(rows) - set(steps))
        surplus = sum((Counter(steps) - Counter(rows)).values())
        return len(steps), lost, surplus + (steps != sorted(steps))


def curve(iteration: int) -> dict[str, object]:
    """A row whose numbers are as awkward as real ones."""
    return {
        "iteration": iteration, "epoch": round(iteration / 3, 4), "lr": 1e-05,
        "train_loss": 0.1 + 0.2, "train_error": 2.0, "test_loss": None,
        "test_error": round(100 / iteration, 4),
    }  # fmt: skip


def timing(iteration: int) -> dict[str, object]:
    return {"iteration": iteration, "seconds": 0.5, "evaluation_seconds": 0.25,
            "images_per_second": 128.0, "peak_memory_bytes": 2**28,
            "at": "2026-01-01T00:00:00Z"}  # fmt: skip


def cores(parent: int) -> list[int]:
    """wandb's own processes of another one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[1] == str(parent) and b"wandb-core" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """A world whose feed starts impatient processes, and that leaves none behind."""
    from degradation.tracking import follow

    made = World(folder)
    before, environment = follow.command, dict(os.environ)
    screen = made.spoken
    follow.command = lambda: ["sh", "-c", f'exec "$@" 2>>{screen}', "sh", *FOLLOW]
    os.environ.clear()
    os.environ.update(made.environment)
    try:
        yield made
    finally:
        follow.command = before
        os.environ.clear()
        os.environ.update(environment)
        if made.feed.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(made.feed.process.pid, signal.SIGKILL)
            made.feed.leave([])
