"""Eight at once: on one run folder, and on one empty cache of data."""

import hashlib
import os
import random
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from degradation.data.download import download
from degradation.training.worker import BUSY

from .harness import child
from .harness.figure import Figure, of_trials
from .harness.moments import at_step
from .harness.training import Ending, config, made, training, undisturbed

EIGHT = 8


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """50 times eight on a run (twice, quick), 20 times on a cache (once)."""
    ending, content = undisturbed(folder / "whole", config()), random.Random(seed).randbytes(10**6)
    runs = [on_a_run(folder / f"run {n}", ending) for n in range(50 if full else 2)]
    caches = [on_a_cache(folder / f"cache {n}", content) for n in range(20 if full else 1)]
    return [
        of_trials(
            f"eight processes on one run folder, {len(runs)} times",
            "one trains, seven leave in less than 1 s with status 75 and its pid",
            runs,
        ),
        of_trials(
            f"eight processes on one empty cache of data, {len(caches)} times",
            "one downloads, seven wait, all have the verified file",
            caches,
        ),
    ]


def on_a_run(folder: Path, ending: Ending) -> str:
    """One trains, the others leave and name it; what is wrong with that."""
    run = made(folder, config())
    body = training(run, at_step(partial(time.sleep, 1.5), 2))
    began = time.monotonic()
    logs = {child.start(body, folder / f"{n}.log"): folder / f"{n}.log" for n in range(EIGHT)}
    statuses, seconds = dict[int, int](), 0.0
    while len(statuses) < EIGHT:
        pid, status = os.wait()
        statuses[pid] = os.waitstatus_to_exitcode(status)
        if statuses[pid] == BUSY:
            seconds = time.monotonic() - began
    trainer = next((pid for pid, status in statuses.items() if status == 0), None)
    named = sum(f"in use by pid {trainer} on" in log.read_text() for log in logs.values())
    expected = [0] + [BUSY] * (EIGHT - 1)
    if sorted(statuses.values()) != expected or named != EIGHT - 1 or seconds >= 1:
        return f"{sorted(statuses.values())}, {named} named it, after {seconds:.2f} s"
    return "" if Ending.of(run) == ending else "another end"


class Slow(SimpleHTTPRequestHandler):
    """Sends a file after a moment, in which the others arrive; the server notes the request."""

    def copyfile(self, *files: Any) -> None:
        self.server.requests.append(self.path)
        time.sleep(0.3)
        super().copyfile(*files)

    def log_message(self, *_: object) -> None:
        pass


def on_a_cache(folder: Path, content: bytes) -> str:
    """One downloads, the others wait for it, all have the file; what is wrong with that."""
    target, digest = folder / "cache" / "archive", hashlib.sha256(content).hexdigest()
    (folder / "mirror").mkdir(parents=True)
    (folder / "mirror" / "archive").write_bytes(content)
    handler = partial(Slow, directory=str(folder / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.requests = []
        Thread(target=server.serve_forever, args=[0.01]).start()

        def fetch() -> int:
            download([f"http://127.0.0.1:{server.server_port}/archive"], target, digest)
            return 0 if target.read_bytes() == content else 4

        pids = [child.start(fetch, folder / f"{n}.log") for n in range(EIGHT)]
        statuses = [child.wait(pid) for pid in pids]
        server.shutdown()
    left = sorted(path.name for path in target.parent.iterdir())
    if (
        statuses == [0] * EIGHT
        and len(server.requests) == 1
        and left == ["archive", "archive.lock"]
    ):
        return ""
    return f"{statuses}, {len(server.requests)} requests, {left}"
