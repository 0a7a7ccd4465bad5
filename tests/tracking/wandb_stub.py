"""A W&B server on this machine, for tests: it keeps what runs send, and misbehaves when told to.

It imitates the part of the server that wandb 0.31 talks to: runs, their histories, sweeps. History
lines are addressed by number, as the real one's are: a line that is sent again lands on itself.

    with Stub() as stub:                # as often as one likes; what it holds is kept
        environment = stub.environment  # points wandb at it
        stub.mood = "hang"              # accepts and never answers; "error": 500; "forbid": 401
"""

import gzip
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "01234567"  # no one's
ENTITY = "team"
DATE = "2026-01-01T00:00:00Z"
USER = {
    **{"id": "u", "username": "tester", "entity": ENTITY, "email": "a@b.c"},
    **{"flags": "{}", "admin": False, "teams": {"edges": []}},
}
Json = dict[str, Any]


@dataclass
class Bucket:
    """One run as the server has it."""

    name: str
    project: str
    fields: Json = field(default_factory=dict)
    """What the last UpsertBucket had: config, groupName, jobType, tags, displayName, …"""
    lines: dict[int, str] = field(default_factory=dict)
    """The history by line number."""
    summary: Json = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "running"
    overwritten: list[tuple[int, str, str]] = field(default_factory=list)
    """Lines that were sent again with another content."""

    @property
    def rows(self) -> list[Json]:
        return [json.loads(self.lines[number]) for number in sorted(self.lines)]

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.rows]

    @property
    def config(self) -> Json:
        """The configuration without W&B's own part."""
        values = json.loads(self.fields.get("config") or "{}")
        return {key: entry["value"] for key, entry in values.items() if key != "_wandb"}

    @property
    def described(self) -> Json:
        """As the server answers who asks for the run."""
        own = {key: self.fields.get(key) for key in ("displayName", "jobType")}
        last = self.steps[-1] if self.lines else -1
        absent = dict.fromkeys(("sweepName", "commit", "notes", "description"))
        return {
            **absent,
            **own,
            **{"id": f"id-{self.name}", "name": self.name, "state": self.state, "readOnly": False},
            **{"tags": self.fields.get("tags") or [], "group": self.fields.get("groupName")},
            **{"config": self.fields.get("config") or "{}", "createdAt": DATE, "heartbeatAt": DATE},
            **{"summaryMetrics": json.dumps(self.summary), "historyLineCount": len(self.lines)},
            **{"systemMetrics": "{}", "user": {"name": "tester", "username": "tester"}},
            **{"projectId": "1", "historyKeys": {"lastStep": last, "sets": [], "keys": {}}},
        }

    def take(self, sent: Json) -> None:
        """What the run streams: lines of history at their numbers, its summary, its end."""
        files = sent.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            for number, line in enumerate(history["content"], history["offset"]):
                if number in self.lines and self.lines[number] != line:
                    self.overwritten.append((number, self.lines[number], line))
                self.lines[number] = line
        if summary := files.get("wandb-summary.json"):
            self.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            self.state = "finished" if sent.get("exitcode") == 0 else "failed"


class Stub:
    """The server. Enter it to listen; leave it, and connections are refused."""

    def __init__(self) -> None:
        self.mood = "well"
        self.buckets: dict[str, Bucket] = {}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        """Operations that a client asked for in vain."""
        self.views: list[Json] = []
        """Saved views and reports, as they came."""
        self.commands: list[Json] = []
        """What a sweep's agent is told to do, one a heartbeat."""
        self.sweep = ""
        self.lock = threading.Lock()
        self.port = 0
        self.server: ThreadingHTTPServer | None = None

    def __enter__(self) -> "Stub":
        handler = type("Handler", (_Handler,), {"stub": self})
        self.server = _Server(("127.0.0.1", self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What points wandb here; whatever else it might have read is out of the way."""
        quiet = {"WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_WEAVE": "true"}
        return quiet | {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "NETRC": "/dev/null"}

    def run(self, name: str) -> Bucket:
        return self.buckets[name]

    def answer(self, operation: str, variables: Json) -> Json:
        """What the server's API gives for an operation by name, with its variables."""
        known = getattr(self, f"on_{operation}", None)
        if known is None:
            self.unknown.append(operation)
            return {}
        found: Json = known(variables)
        return found

    def on_Viewer(self, v: Json) -> Json:
        return {"viewer": USER}

    on_GetDefaultEntity = on_Viewer

    def on_UpsertBucket(self, v: Json) -> Json:
        name, inserted = v["name"], v["name"] not in self.buckets
        project = v.get("project") or "uncategorized"
        bucket = self.buckets.setdefault(name, Bucket(name, project))
        bucket.fields |= {key: value for key, value in v.items() if value is not None}
        described = bucket.described | {"sweepName": bucket.fields.get("sweep")}
        return {
            "upsertBucket": {"inserted": inserted, "bucket": described | _project(bucket.project)}
        }

    def on_RunResumeStatus(self, v: Json) -> Json:
        bucket = self.buckets.get(v["name"])
        if bucket is None:
            return {"model": {**_project(v["project"])["project"], "bucket": None}}
        last = [bucket.lines[n] for n in sorted(bucket.lines)][-1:]
        found = bucket.described | {
            **{"historyTail": json.dumps(last), "eventsTail": "[]", "wandbConfig": '{"t": {}}'},
            **{"logLineCount": 0, "eventsLineCount": 0},
        }
        return {"model": {**_project(v["project"])["project"], "bucket": found}}

    def on_CreateRunFiles(self, v: Json) -> Json:
        run = v["run"]
        urls = {name: f"{self.url}/upload/{run}/{name}" for name in v.get("files", [])}
        files = [{"name": name, "uploadUrl": url} for name, url in urls.items()]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    # Dashboards.

    def on_UpsertView2(self, v: Json) -> Json:
        """A saved view of a workspace, or a report."""
        self.views.append(v)
        kept = {key: v.get(key) for key in ("name", "displayName", "type", "description", "spec")}
        project = {"id": "p", "name": v["projectName"], "entityName": v["entityName"]}
        view = {**kept, "id": str(len(self.views)), "project": project, "updatedAt": DATE[:-1]}
        return {"upsertView": {"inserted": True, "view": view}}

    on_upsertView = on_UpsertView2

    def on_ProjectInternalId(self, v: Json) -> Json:
        return {"project": {"internalId": "p"}}

    def on_GetProjects(self, v: Json) -> Json:
        other = {"entityName": ENTITY, "createdAt": "", "isBenchmark": False, "user": None}
        edge = {"node": _project("project")["project"] | other, "cursor": ""}
        return {"models": {"edges": [edge], "pageInfo": {"hasNextPage": False, "endCursor": None}}}

    # What reads runs back.

    def _read(self, v: Json) -> Bucket | None:
        bucket = self.buckets.get(v.get("name") or v.get("runName") or v.get("run") or "")
        return bucket if bucket and bucket.project == v.get("project") else None

    def on_Run(self, v: Json) -> Json:
        bucket = self._read(v)
        return {"project": {"internalId": "1", "run": bucket.described} if bucket else None}

    on_RunHistoryKeys = on_Run

    def on_Runs(self, v: Json) -> Json:
        runs = [b.described for b in self.buckets.values() if b.project == v["project"]]
        if not runs:
            return {"project": None}
        edges = [{"node": run, "cursor": str(i)} for i, run in enumerate(runs)]
        page = {"edges": edges, "pageInfo": {"endCursor": str(len(runs)), "hasNextPage": False}}
        return {
            "project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": page}
        }

    def on_RunParquetHistory(self, v: Json) -> Json:
        bucket = self._read(v)
        live = [{"_step": step} for step in bucket.steps] if bucket else []
        return {"project": {"run": {"parquetHistory": {"liveData": live, "parquetUrls": []}}}}

    def on_HistoryPage(self, v: Json) -> Json:
        bucket = self._read(v)
        rows = bucket.rows if bucket else []
        wanted = [json.dumps(r) for r in rows if v["minStep"] <= r["_step"] < v["maxStep"]]
        return {"project": {"run": {"history": wanted[: v["pageSize"]]}}}

    # Sweeps.

    def on_CreateAgent(self, v: Json) -> Json:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def on_Heartbeat(self, v: Json) -> Json:
        at_work = json.loads(v.get("runState") or "{}")  # an agent that is told to exit kills it
        told = [self.commands.pop(0)] if self.commands and not at_work else []
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(told)}}

    def on_SweepWithRuns(self, v: Json) -> Json:
        absent = dict.fromkeys(("heartbeatAt", "updatedAt", "controller", "scheduler"))
        sweep = {"id": "s", "name": "s", "method": "grid", "state": "RUNNING", "description": ""}
        other = {"config": self.sweep, "createdAt": DATE[:-1], "earlyStopJobRunning": False}
        return {"project": {"sweep": {**absent, **sweep, **other, "runs": {"edges": []}}}}


def _project(name: str) -> Json:
    return {"project": {"id": "p", "name": name, "entity": {"id": "e", "name": ENTITY}}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: Stub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_PUT(self) -> None:
        self._serve(self._body())

    do_POST = do_PUT

    def _serve(self, body: bytes) -> None:
        stub = self.stub
        stub.requests.append(f"{self.command} {self.path}")
        if stub.mood == "hang":
            while stub.mood == "hang":
                time.sleep(0.05)
            self.close_connection = True
            return
        if stub.mood in ("error", "forbid"):
            self._send({"error": "as told"}, 500 if stub.mood == "error" else 401)
            return
        with stub.lock:
            answer = self._answer(body)
        self._send(answer)

    def _answer(self, body: bytes) -> Json:
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            words = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            operation = words.group(1) if words else "?"
            self.stub.requests[-1] += f" {operation}"
            return {"data": self.stub.answer(operation, asked.get("variables") or {})}
        if found := re.match(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.stub.buckets[found[1]].take(json.loads(body))
            return {"limits": {}, "exitcode": None}
        found = re.match(r"/upload/([^/]+)/(.+)", self.path)
        if found and found[1] in self.stub.buckets:
            self.stub.buckets[found[1]].files[found[2]] = body
        return {}

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: Json, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
