"""A W&B server on this machine, for tests: it keeps what runs send, and misbehaves when told to.

It imitates the part of the server that wandb 0.31 talks to: runs, their histories, sweeps. History
lines are addressed by number, as the real one's are: a line that is sent again lands on itself.

    with Stub() as stub:                # as often as one likes; what it holds is kept
        environment = stub.environment  # points wandb at it
        stub.mood = "hang"              # or one of MOODS
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
MOODS = ("well", "hang", "error", "cut", "forbid")
"""hang: accepts and never answers; error: 500; cut: takes what it is sent, and closes the
connection in the middle of its answer; forbid: 401 for any key."""


@dataclass
class Bucket:
    """One run as the server has it."""

    name: str
    project: str
    fields: dict[str, Any] = field(default_factory=dict)
    """What the last UpsertBucket said: config, groupName, jobType, tags, displayName, …"""
    lines: dict[int, str] = field(default_factory=dict)
    """The history by line number."""
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "running"
    overwritten: list[tuple[int, str, str]] = field(default_factory=list)
    """Lines that were sent again with another content."""
    posts: int = 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(self.lines[number]) for number in sorted(self.lines)]

    @property
    def steps(self) -> list[int]:
        return [row["_step"] for row in self.rows]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration without W&B's own part."""
        values = json.loads(self.fields.get("config") or "{}")
        return {key: entry["value"] for key, entry in values.items() if key != "_wandb"}


class Stub:
    """The server. Enter it to listen; leave it, and connections are refused."""

    def __init__(self) -> None:
        self.mood = "well"
        self.buckets: dict[str, Bucket] = {}
        self.requests: list[str] = []
        self.bytes_seen: list[bytes] = []
        """Bodies of requests, to search for what should not be in them."""
        self.unknown: list[str] = []
        self.views: list[dict[str, Any]] = []
        """Saved views and reports, as they came."""
        self.commands: list[dict[str, Any]] = []
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
        return {
            "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false",
            "WANDB_DISABLE_WEAVE": "true", "NETRC": "/dev/null",
        }  # fmt: skip

    def run(self, name: str) -> Bucket:
        return self.buckets[name]

    def bucket(self, variables: dict[str, Any]) -> Bucket:
        name, project = variables["name"], variables.get("project") or "uncategorized"
        return self.buckets.setdefault(name, Bucket(name, project))

    # What the server's API calls by name, with the variables that came.

    def answer(self, operation: str, v: dict[str, Any]) -> dict[str, Any]:
        known = getattr(self, f"on_{operation}", None)
        if known is None:
            self.unknown.append(operation)
            return {}
        found: dict[str, Any] = known(v)
        return found

    def on_Viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "username": "tester", "entity": ENTITY, "email": "a@b.c",
                           "flags": "{}", "admin": False,
                           "teams": {"edges": []}}}  # fmt: skip

    on_GetDefaultEntity = on_Viewer

    def on_UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        inserted = v["name"] not in self.buckets
        bucket = self.bucket(v)
        bucket.fields |= {key: value for key, value in v.items() if value is not None}
        bucket.state = "running" if inserted else bucket.state
        return {"upsertBucket": {"inserted": inserted, "bucket": {
            "id": f"id-{bucket.name}", "name": bucket.name, "description": "",
            "displayName": bucket.fields.get("displayName") or bucket.name,
            "config": bucket.fields.get("config") or "{}",
            "sweepName": bucket.fields.get("sweep"), "historyLineCount": len(bucket.lines),
            "project": _project(bucket.project)}}}  # fmt: skip

    def on_UpsertView2(self, v: dict[str, Any]) -> dict[str, Any]:
        """A saved view of a workspace, or a report."""
        self.views.append(v)
        number = str(len(self.views))
        return {"upsertView": {"inserted": True, "view": {
            "id": number, "name": v["name"], "displayName": v["displayName"], "type": v["type"],
            "description": v.get("description"), "spec": v["spec"],
            "project": {"id": "p", "name": v["projectName"], "entityName": v["entityName"]},
            "updatedAt": "2026-01-01T00:00:00"}}}  # fmt: skip

    on_upsertView = on_UpsertView2

    def on_ProjectInternalId(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"internalId": "p"}}

    def on_GetProjects(self, v: dict[str, Any]) -> dict[str, Any]:
        node = {**_project("project"), "entityName": ENTITY, "createdAt": "", "isBenchmark": False,
                "user": None}  # fmt: skip
        page = {"hasNextPage": False, "endCursor": None}
        return {"models": {"edges": [{"node": node, "cursor": ""}], "pageInfo": page}}

    def on_RunResumeStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        bucket = self.buckets.get(v["name"])
        found = None if bucket is None else {
            "id": f"id-{bucket.name}", "name": bucket.name, "displayName": bucket.name,
            "summaryMetrics": json.dumps(bucket.summary), "logLineCount": 0,
            "historyLineCount": len(bucket.lines), "eventsLineCount": 0,
            "historyTail": json.dumps([bucket.lines[n] for n in sorted(bucket.lines)][-1:]),
            "eventsTail": "[]", "config": bucket.fields.get("config") or "{}",
            "tags": bucket.fields.get("tags") or [], "notes": "", "wandbConfig": '{"t": {"1": 1}}',
        }  # fmt: skip
        return {"model": {**_project(v["project"]), "bucket": found}}

    def on_CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        run = v.get("run") or v.get("runName") or "run"
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"}
                 for name in v.get("files", [])]  # fmt: skip
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    # What reads runs back.

    def _read(self, v: dict[str, Any]) -> Bucket | None:
        bucket = self.buckets.get(v.get("name") or v.get("runName") or v.get("run") or "")
        return bucket if bucket and bucket.project == v.get("project") else None

    def on_Project(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v.get("name") or v.get("project")
        there = any(b.project == name for b in self.buckets.values())
        return {"project": {**_project(name), "internalId": "1"} if there else None}

    def on_Run(self, v: dict[str, Any]) -> dict[str, Any]:
        bucket = self._read(v)
        if bucket is None:
            return {"project": None}
        return {"project": {"internalId": "1", "run": self._described(bucket)}}

    def on_Runs(self, v: dict[str, Any]) -> dict[str, Any]:
        own = [b for b in self.buckets.values() if b.project == v["project"]]
        if not own:
            return {"project": None}
        edges = [{"node": {"projectId": "1", **self._described(b)}, "cursor": str(i)}
                 for i, b in enumerate(own)]  # fmt: skip
        start = int(v.get("cursor") or -1) + 1
        page = edges[start : start + (v.get("perPage") or 50)]
        info = {"endCursor": page[-1]["cursor"] if page else None,
                "hasNextPage": start + len(page) < len(edges)}  # fmt: skip
        return {"project": {"internalId": "1", "runCount": len(own), "readOnly": False,
                            "runs": {"edges": page, "pageInfo": info}}}  # fmt: skip

    def _described(self, b: Bucket) -> dict[str, Any]:
        last = b.steps[-1] if b.lines else -1
        return {
            "id": f"id-{b.name}", "name": b.name, "displayName": b.fields.get("displayName"),
            "tags": b.fields.get("tags") or [], "sweepName": None, "state": b.state,
            "config": b.fields.get("config") or "{}", "group": b.fields.get("groupName"),
            "jobType": b.fields.get("jobType"), "commit": None, "readOnly": False,
            "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": "2026-01-01T00:00:00Z",
            "description": "", "notes": "", "systemMetrics": "{}",
            "summaryMetrics": json.dumps(b.summary), "historyLineCount": len(b.lines),
            "user": {"name": "tester", "username": "tester"}, "projectId": "1",
            "historyKeys": {"lastStep": last, "sets": [], "keys": {}},
        }  # fmt: skip

    def on_RunHistoryKeys(self, v: dict[str, Any]) -> dict[str, Any]:
        bucket = self._read(v)
        return {"project": {"run": self._described(bucket) if bucket else None}}

    def on_RunParquetHistory(self, v: dict[str, Any]) -> dict[str, Any]:
        bucket = self._read(v)
        if bucket is None:
            return {"project": None}
        live = [{"_step": step} for step in bucket.steps]
        return {"project": {"run": {"parquetHistory": {"liveData": live, "parquetUrls": []}}}}

    def on_HistoryPage(self, v: dict[str, Any]) -> dict[str, Any]:
        bucket = self._read(v)
        if bucket is None:
            return {"project": None}
        history = [json.dumps(row) for row in bucket.rows
                   if v["minStep"] <= row["_step"] < v["maxStep"]]  # fmt: skip
        return {"project": {"run": {"history": history[: v["pageSize"]]}}}

    # Sweeps.

    def on_CreateAgent(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def on_Heartbeat(self, v: dict[str, Any]) -> dict[str, Any]:
        at_work = json.loads(v.get("runState") or "{}")  # an agent that is told to exit kills it
        told = [self.commands.pop(0)] if self.commands and not at_work else []
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(told)}}

    def on_Sweep(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"sweep": {
            "id": "s", "name": "s", "method": "grid", "state": "RUNNING", "description": "",
            "config": self.sweep, "createdAt": "2026-01-01T00:00:00", "heartbeatAt": None,
            "updatedAt": None, "earlyStopJobRunning": False, "controller": None, "scheduler": None,
            "runs": {"edges": []}}}}  # fmt: skip

    on_SweepWithRuns = on_Sweep

    def stream(self, name: str, sent: dict[str, Any]) -> None:
        """Take what a run streams: lines of history at their numbers, its summary, its end."""
        bucket = self.buckets[name]
        bucket.posts += 1
        files = sent.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            for number, line in enumerate(history["content"], history["offset"]):
                if number in bucket.lines and bucket.lines[number] != line:
                    bucket.overwritten.append((number, bucket.lines[number], line))
                bucket.lines[number] = line
        if summary := files.get("wandb-summary.json"):
            bucket.summary = json.loads(summary["content"][-1])
        if sent.get("complete"):
            bucket.state = "finished" if sent.get("exitcode") == 0 else "failed"


def _project(name: str) -> dict[str, Any]:
    return {"id": "p", "name": name, "entity": {"id": "e", "name": ENTITY}}


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

    def do_POST(self) -> None:
        self._serve(self._body())

    def _serve(self, body: bytes) -> None:
        stub = self.stub
        stub.requests.append(f"{self.command} {self.path}")
        stub.bytes_seen.append(body)
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
        self._send(answer, cut=stub.mood == "cut")

    def _answer(self, body: bytes) -> dict[str, Any]:
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            words = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            operation = words.group(1) if words else "?"
            self.stub.requests[-1] += f" {operation}"
            return {"data": self.stub.answer(operation, asked.get("variables") or {})}
        if found := re.match(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.stub.stream(found[1], json.loads(body))
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

    def _send(self, content: dict[str, Any], status: int = 200, cut: bool = False) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True
