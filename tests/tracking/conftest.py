"""What the tests of tracking share: a W&B server on this machine, run folders to write rows into,
and the real processes that send them, with shorter timeouts.

The server imitates the part of W&B's own that wandb 0.31 talks to. It addresses history lines by
number, as the real one does: a line that is sent again replaces itself.
"""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from degradation.config.schema import Machine, Settings
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP
from degradation.tracking import sync
from tests.commands.conftest import environment
from tests.conftest import small

KEY = "0123456789abcdef" * 2 + "01234567"  # no one's
DATE = "2026-01-01T00:00:00Z"
USER = {"id": "u", "username": "tester", "name": "tester", "entity": "team", "email": "a@b.c"}
USER |= {"flags": "{}", "admin": False, "teams": {"edges": []}}
Json = dict[str, Any]


@dataclass
class Bucket:
    """One run as the server has it."""

    name: str
    fields: Json = field(default_factory=dict)
    """What the last UpsertBucket had: config, groupName, jobType, tags, displayName, …"""
    lines: dict[int, str] = field(default_factory=dict)
    """The history by line number."""
    overwritten: list[int] = field(default_factory=list)
    """Lines that were sent again with another content."""
    summary: Json = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    state: str = "running"

    @property
    def rows(self) -> list[Json]:
        return [json.loads(self.lines[number]) for number in sorted(self.lines)]

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.rows]

    @property
    def config(self) -> Json:
        values = json.loads(self.fields.get("config") or "{}")
        return {key: entry["value"] for key, entry in values.items() if key != "_wandb"}

    def described(self, wanted: range) -> Json:
        """All that is known of the run, with the rows of the wanted steps."""
        given, steps = self.fields, self.steps
        absent = dict.fromkeys(("commit", "notes", "description", "displayName", "jobType"))
        own = {"id": f"id-{self.name}", "name": self.name, "state": self.state, "readOnly": False}
        named = {"group": given.get("groupName"), "sweepName": given.get("sweep")}
        named |= {"tags": given.get("tags") or [], "config": given.get("config") or "{}"}
        made = {"createdAt": DATE, "heartbeatAt": DATE, "user": USER, "projectId": "1"}
        metrics = {"summaryMetrics": json.dumps(self.summary), "systemMetrics": "{}"}
        counts = {"historyLineCount": len(steps), "logLineCount": 0, "eventsLineCount": 0}
        tails = {"historyTail": json.dumps([self.lines[n] for n in sorted(self.lines)][-1:])}
        tails |= {"eventsTail": "[]", "wandbConfig": '{"t": {}}'}
        live = {"liveData": [{"_step": step} for step in steps], "parquetUrls": []}
        keys = {"lastStep": steps[-1] if steps else -1, "sets": [], "keys": {}}
        history = {"historyKeys": keys, "parquetHistory": live}
        history["history"] = [json.dumps(row) for row in self.rows if row["_step"] in wanted]
        return absent | given | own | named | made | metrics | counts | tails | history

    def take(self, sent: Json) -> None:
        """What the run streams: lines of history at their numbers, its summary, its end."""
        files = sent.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            for number, line in enumerate(history["content"], history["offset"]):
                if self.lines.setdefault(number, line) != line:
                    self.overwritten.append(number)
        if summary := files.get("wandb-summary.json"):
            self.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            self.state = "finished" if sent.get("exitcode") == 0 else "failed"


class Server:
    """Enter it to listen; leave it, and connections are refused, while what it holds is kept."""

    def __init__(self) -> None:
        self.mood = "well"
        """"hang": accepts and never answers; "error": 500; "forbid": 401."""
        self.buckets: dict[str, Bucket] = {}
        self.requests: list[str] = []
        self.views: list[Json] = []
        """Saved views and reports, as they came."""
        self.commands: list[Json] = []
        """What a sweep's agent is told to do, one a heartbeat."""
        self.sweep = ""
        self.lock = threading.Lock()
        self.port = 0
        with self:  # for its port
            self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        handler = type("Handler", (_Handler,), {"wandb": self})
        self.listener = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.listener.shutdown()
        self.listener.server_close()

    def answer(self, operation: str, v: Json) -> Json:
        """What the server knows and does: a client reads the part that its operation asked for."""
        self.requests.append(operation)
        name, told = v.get("name") or v.get("runName") or v.get("run"), []
        inserted = name not in self.buckets
        if operation == "UpsertBucket":
            bucket = self.buckets.setdefault(name, Bucket(name))
            bucket.fields |= {key: value for key, value in v.items() if value is not None}
        if operation in ("UpsertView2", "upsertView"):
            self.views.append(v)
        # An agent that is told to exit kills the run that it has at work.
        if operation == "Heartbeat" and self.commands and not json.loads(v.get("runState") or "{}"):
            told = [self.commands.pop(0)]
        steps = range(v.get("minStep", 0), v.get("maxStep", 0))
        runs = {name: bucket.described(steps) for name, bucket in self.buckets.items()}
        itself = {"id": "p", "internalId": "1", "name": "project", "entityName": "team"}
        itself |= {"entity": {"id": "e", "name": "team"}, "createdAt": DATE, "isBenchmark": False}
        run = runs[name] | {"project": itself} if name in runs else None
        there = v.get("project", "project") == "project"
        return {
            "viewer": USER,
            "upsertBucket": {"inserted": inserted, "bucket": run},
            "model": itself | {"bucket": run},
            "createRunFiles": self._places(name, v.get("files") or []),
            "upsertView": {"inserted": True, "view": self._view(v)},
            "models": _pages([itself | {"user": None}]),
            "project": self._project(itself, run, list(runs.values())) if there else None,
            "createAgent": {"agent": {"id": "agent"}},
            "agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(told)},
        }

    def _places(self, run: str | None, names: list[str]) -> Json:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in names]
        return {"runID": f"id-{run}", "uploadHeaders": [], "files": files}

    def _view(self, v: Json) -> Json:
        kept = {key: v.get(key) for key in ("name", "displayName", "type", "description", "spec")}
        project = {"id": "p", "name": v.get("projectName"), "entityName": v.get("entityName")}
        return kept | {"id": str(len(self.views)), "project": project, "updatedAt": DATE[:-1]}

    def _project(self, itself: Json, run: Json | None, runs: list[Json]) -> Json:
        absent = dict.fromkeys(("heartbeatAt", "updatedAt", "controller", "scheduler"))
        sweep = {"id": "s", "name": "s", "method": "grid", "state": "RUNNING", "description": ""}
        sweep |= {"config": self.sweep, "createdAt": DATE[:-1], "earlyStopJobRunning": False}
        sweep |= absent | {"runs": {"edges": []}}
        listed = {"run": run, "runCount": len(runs), "readOnly": False, "runs": _pages(runs)}
        return itself | listed | {"sweep": sweep}


def _pages(nodes: list[Json]) -> Json:
    edges = [{"node": node, "cursor": str(i)} for i, node in enumerate(nodes)]
    return {"edges": edges, "pageInfo": {"endCursor": str(len(nodes)), "hasNextPage": False}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wandb: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        body, mood = self._body(), self.wandb.mood
        if mood == "hang":
            while self.wandb.mood == "hang":
                time.sleep(0.05)
            self.close_connection = True
            return
        with self.wandb.lock:
            content = json.dumps(self._answer(body) if mood == "well" else {}).encode()
        self.send_response({"well": 200, "error": 500, "forbid": 401}[mood])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def _body(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, body: bytes) -> Json:
        kind, *names = self.path.strip("/").split("/")
        if kind == "graphql":
            asked = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
            return {"data": self.wandb.answer(operation, asked.get("variables") or {})}
        if kind == "files":
            self.wandb.buckets[names[2]].take(json.loads(body))
        if kind == "upload":
            self.wandb.buckets[names[0]].files.add("/".join(names[1:]))
        return {}


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
COMMAND = [sys.executable, "-c", IMPATIENT]
LAUNCH = {"commit": "c", "digests": {"initial": "i", "stream": "s"}, "parameters": 7}
LAUNCH |= {"fingerprint": {"device": "cpu"}}


class World:
    """A folder of runs, a server, and what a study holds to send rows."""

    def __init__(self, folder: Path) -> None:
        self.server, self.sync = Server(), sync.Sync()
        self.runs, self.output = folder / "runs", folder / "output"
        self.runs.mkdir()
        self.environment: dict[str, str] = {}
        """That of the commands that are called; the senders have the test's own."""

    def create(self, seed: int = 0, mode: str = "auto") -> tuple[RunDir, Settings]:
        """The folder of a run that begins to train, or goes on."""
        machine = Machine("cpu", 1, str(self.runs), "none", "exact", mode, "project", None)
        config = small(seed=seed, study="test")
        run = RunDir.of(config, self.runs)
        run.create(config)
        files.append_line(run.launches_jsonl, json.dumps(LAUNCH))
        return run, Settings(config, machine)

    def start(self, seed: int = 0, mode: str = "auto") -> RunDir:
        run, settings = self.create(seed, mode)
        self.sync.start([(run, settings)])
        return run

    def row(self, run: RunDir, count: int = 1) -> None:
        """The next rows, as a worker writes them."""
        for _ in range(count):
            iteration = 4 * (len(run.rows()) + 1)
            files.append_line(run.curves, json.dumps(curve(iteration)))
            timing = {"iteration": iteration, "seconds": 0.5, "peak_memory_bytes": 2**28}
            files.append_line(run.timing_jsonl, json.dumps(timing))

    def end(self, run: RunDir, *, result: bool = True) -> None:
        """Its process ends, with or without a result."""
        if result:
            done = {"outcome": "done", "curves_sha256": files.sha256_of(run.curves)}
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

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """`degradation sync`."""
        return self.call([*COMMAND, str(self.runs), *words])

    def call(self, words: list[str]) -> "subprocess.CompletedProcess[str]":
        where = {"cwd": self.runs.parent, "env": self.environment, "timeout": 120}
        return subprocess.run(words, capture_output=True, text=True, **where)

    def steps(self, run: RunDir) -> list[int]:
        """The steps of the rows that the server has."""
        bucket = self.server.buckets.get(run.name)
        return bucket.steps if bucket else []

    def kill_senders(self) -> None:
        """SIGKILL to the processes that send, and to wandb's own."""
        for sender in self.sync.senders:
            with suppress(ProcessLookupError):
                os.killpg(sender.pid, signal.SIGKILL)
            sender.wait()

    @property
    def messages(self) -> str:
        """What the processes that send have printed."""
        return self.output.read_text() if self.output.exists() else ""


def curve(iteration: int) -> Json:
    """A row whose numbers are as awkward as real ones."""
    row = {"iteration": iteration, "epoch": round(iteration / 3, 4), "lr": 1e-05}
    row |= {"train_loss": 0.1 + 0.2, "train_error": 2.0, "test_loss": None}
    return row | {"test_error": round(100 / iteration, 4)}


@pytest.fixture
def w(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world whose study starts impatient processes, and that leaves none behind."""
    made = World(tmp_path)
    here = {"WANDB_BASE_URL": made.server.url, "WANDB_API_KEY": KEY, "PYTHONPATH": str(TOP)}
    here |= {"WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_WEAVE": "true"}
    made.environment = environment(tmp_path) | here
    for name in set(os.environ) - set(made.environment):
        monkeypatch.delenv(name)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    shell = ["sh", "-c", f'exec "$@" 2>>{made.output}', "sh"]
    monkeypatch.setattr(sync, "FOLLOW", [*shell, *COMMAND, "--follow"])
    yield made
    made.kill_senders()
    made.sync.finish([])
