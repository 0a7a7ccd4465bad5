"""Eight at once: on one run folder, and on one empty cache of data."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from degradation.data.download import download
from degradation.training.worker import BUSY

from . import fork, pair
from .figure import Figure
from .moments import Moment

SECTION = "Two at once"
EIGHT = 8


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """50 times eight on a run (twice, quick), 20 times on a cache (once)."""
    fork.warm(pair.config(full=False))
    return [
        on_a_run(50 if full else 2, folder / "run"),
        on_a_cache(20 if full else 1, folder / "cache", seed),
    ]


def on_a_run(times: int, folder: Path) -> Figure:
    """One trains, the others leave and name it."""
    config = pair.config(full=False)
    whole = pair.made(folder / "whole", config)
    assert fork.once(whole).status == 0
    ending, wrong, slowest = pair.Ending.of(whole), [], 0.0
    for number in range(times):
        run = pair.made(folder / str(number), config)
        linger = lambda: Moment("step", 2, 1).strike(lambda: time.sleep(1.5))  # noqa: E731
        pids, began = {}, {}
        for child in range(EIGHT):
            log = folder / f"{number}-{child}"
            pid = fork.start(fork.body_of(run, linger), log)
            pids[pid], began[pid] = log, time.monotonic()
        ends, last = {}, 0.0
        while len(ends) < EIGHT:
            for pid in pids.keys() - ends.keys():
                if (status := fork.ended(pid)) is not None:
                    ends[pid] = status
                    if status == BUSY:
                        last = max(last, time.monotonic() - began[pid])
            time.sleep(0.005)
        slowest = max(slowest, last)
        trainers = [pid for pid, status in ends.items() if status == 0]
        named = (
            sum(
                f"in use by pid {trainers[0]} on" in log.read_text(errors="replace")
                for log in pids.values()
            )
            if trainers
            else 0
        )
        fine = len(trainers) == 1 and sorted(ends.values()) == [0] + [BUSY] * (EIGHT - 1)
        fine &= named == EIGHT - 1 and last < 1 and pair.Ending.of(run) == ending
        if not fine:
            wrong.append(f"{sorted(ends.values())}, {named} named it, {last:.2f} s")
    return Figure(
        SECTION,
        f"eight processes on one run folder, {times} times",
        "one trains, seven leave in less than 1 s with status 75 and its pid",
        "; ".join(wrong[:5]) or f"so {times} of {times} times, the slowest after {slowest:.2f} s",
        not wrong,
    )


class Request(BaseHTTPRequestHandler):
    body = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        for start in range(0, len(self.body), 1 << 18):
            self.wfile.write(self.body[start : start + (1 << 18)])
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """A mirror on this machine: its address, and what it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (Request,), {"body": content, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_address[1]}/archive", asked
        finally:
            site.shutdown()
            thread.join()


def on_a_cache(times: int, folder: Path, seed: int) -> Figure:
    """One downloads, the others wait for it; all have the file."""
    content = random.Random(seed).randbytes(1_500_000)
    digest, wrong = hashlib.sha256(content).hexdigest(), []
    for number in range(times):
        target = folder / str(number) / "archive"
        with server(content) as (url, asked):

            def fetch(url: str = url, target: Path = target) -> int:
                download([url], target, digest)
                return 0 if target.read_bytes() == content else 4

            folder.mkdir(exist_ok=True)
            pids = [fork.start(fetch, folder / f"{number}-{i}.said") for i in range(EIGHT)]
            statuses = [fork.wait(pid) for pid in pids]
        left = sorted(p.name for p in target.parent.iterdir())
        if statuses != [0] * EIGHT or len(asked) != 1 or left != ["archive", "archive.lock"]:
            wrong.append(f"{statuses}, {len(asked)} requests, {left}")
    return Figure(
        SECTION,
        f"eight processes on one empty cache of data, {times} times",
        "one downloads, seven wait, all have the verified file",
        "; ".join(wrong[:5]) or f"so {times} of {times} times",
        not wrong,
    )
