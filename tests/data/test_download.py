"""Downloads from a server of our own: resumed, verified, one for all processes, or refused."""

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from degradation.data import download as module
from degradation.data.dataset import DataError
from degradation.data.download import TRIES, download

BODY = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
PAGE = b"<html>please log in</html>"


class Request(BaseHTTPRequestHandler):
    """One request; `site` answers it."""

    site: "Site"

    def do_GET(self) -> None:
        self.site.asked.append(self.headers.get("Range"))
        self.site.answer(self)

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        wanted = self.headers.get("Range") or "bytes=0-"
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def give(self, status: int, body: bytes, length: int | None = None) -> None:
        """Answer with `body`, and its length unless `length` says otherwise (-1: say none)."""
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.site.served += len(body)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Request], None]


@dataclass
class Site:
    """A mirror: how it answers, and what it was asked for and served."""

    answer: Answer
    asked: list[str | None] = field(default_factory=list)
    served: int = 0
    url: str = ""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Site]]:
    """Starts a server that answers so."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> Site:
        site = Site(answer)
        handler = type("Handler", (Request,), {"site": site})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/file"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


Mirror = Callable[[Answer], Site]


def whole(request: Request) -> None:
    """What is asked for, as servers should."""
    start = request.start
    if start >= len(BODY):
        request.give(416, b"")
    else:
        request.give(206 if start else 200, BODY[start:])


def cut(request: Request) -> None:
    """300,000 bytes of what is asked for, though all are announced."""
    start = request.start
    part = BODY[start : start + 300_000]
    request.give(206 if start else 200, part, length=len(BODY) - start)


def whole_always(request: Request) -> None:
    """Everything, whatever is asked for."""
    request.give(200, BODY)


def failing(status: int) -> Answer:
    return lambda request: request.give(status, PAGE)


def fetch(target: Path, *sites: Site, sha256: str = SHA256) -> None:
    download([site.url for site in sites], target, len(BODY), sha256, pause=0)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "file.gz"


def assert_complete(target: Path) -> None:
    assert target.read_bytes() == BODY
    assert names(target) == {"file.gz", "file.gz.lock"}


def names(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()}


def test_a_complete_download_gets_its_name(target: Path, mirror: Mirror) -> None:
    site = mirror(whole)
    fetch(target, site)
    assert_complete(target)
    assert (site.asked, site.served) == ([None], len(BODY))


def test_what_is_there_is_not_fetched_again(target: Path, mirror: Mirror) -> None:
    site = mirror(whole)
    fetch(target, site)
    fetch(target, site)
    assert len(site.asked) == 1


def test_a_cut_is_gone_on_with_and_no_byte_fetched_twice(target: Path, mirror: Mirror) -> None:
    first, second = mirror(cut), mirror(whole)
    fetch(target, first, second)
    assert_complete(target)
    assert (first.asked, second.asked) == ([None], ["bytes=300000-"])
    assert first.served + second.served == len(BODY)


def test_one_mirror_that_cuts_is_asked_again(target: Path, mirror: Mirror) -> None:
    site = mirror(lambda request: (cut if request.start < 600_000 else whole)(request))
    fetch(target, site)
    assert_complete(target)
    assert site.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert site.served == len(BODY)


def test_a_later_call_goes_on_with_the_part(target: Path, mirror: Mirror) -> None:
    first, second = mirror(cut), mirror(whole)
    with pytest.raises(DataError, match=r"cut after 900,000 of 1,000,000 bytes"):
        fetch(target, first)
    assert names(target) == {"file.gz.part", "file.gz.lock"}
    fetch(target, second)
    assert_complete(target)
    assert second.asked == ["bytes=900000-"]
    assert first.served + second.served == len(BODY)


def test_a_server_without_range_starts_anew(target: Path, mirror: Mirror) -> None:
    first, second = mirror(cut), mirror(whole_always)
    fetch(target, first, second)
    assert_complete(target)
    assert second.served == len(BODY)


def test_a_server_that_announces_no_length_will_do(target: Path, mirror: Mirror) -> None:
    site = mirror(lambda request: request.give(200, BODY, length=-1))
    fetch(target, site)
    assert_complete(target)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_error_sends_to_the_next_mirror(target: Path, mirror: Mirror, status: int) -> None:
    first, second = mirror(failing(status)), mirror(whole)
    fetch(target, first, second)
    assert_complete(target)
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_a_page_of_another_size_is_refused(target: Path, mirror: Mirror) -> None:
    site = mirror(failing(200))
    with pytest.raises(DataError, match=r"offers 26 bytes, expected 1,000,000"):
        fetch(target, site)
    assert names(target) == {"file.gz.lock"}


def test_a_page_of_another_size_costs_nothing_of_what_is_there(
    target: Path, mirror: Mirror
) -> None:
    first, page, last = mirror(cut), mirror(failing(200)), mirror(whole)
    fetch(target, first, page, last)
    assert_complete(target)
    assert last.asked == ["bytes=300000-"]
    assert first.served + last.served == len(BODY)


def test_no_more_is_taken_than_there_should_be(target: Path, mirror: Mirror) -> None:
    site = mirror(lambda request: request.give(200, BODY + b"more", length=-1))
    fetch(target, site)
    assert_complete(target)


def test_a_part_that_is_too_long_is_thrown_away(target: Path, mirror: Mirror) -> None:
    target.parent.mkdir()
    target.with_name("file.gz.part").write_bytes(BODY + b"of another file")
    fetch(target, mirror(whole))
    assert_complete(target)


def test_a_complete_part_needs_no_mirror(target: Path, mirror: Mirror) -> None:
    target.parent.mkdir()
    target.with_name("file.gz.part").write_bytes(BODY)
    site = mirror(whole)
    fetch(target, site)
    assert_complete(target)
    assert site.asked == []


def test_a_wrong_digest_is_kept_as_bad_and_never_gets_the_name(
    target: Path, mirror: Mirror
) -> None:
    wrong = BODY[:-1] + b"?"
    site = mirror(lambda request: request.give(200, wrong))
    with pytest.raises(DataError) as caught:
        fetch(target, site)
    digest = hashlib.sha256(wrong).hexdigest()
    assert f"SHA-256 {digest}, expected {SHA256}" in str(caught.value)
    assert "file.gz.bad" in str(caught.value)
    assert names(target) == {"file.gz.bad", "file.gz.lock"}
    assert target.with_name("file.gz.bad").read_bytes() == wrong
    fetch(target, mirror(whole))  # and nothing of it is gone on with
    assert target.read_bytes() == BODY


def test_a_mirror_that_stalls_is_left(
    target: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL", 0.2)
    over = threading.Event()

    def stalling(request: Request) -> None:
        request.give(200, BODY[:10], length=len(BODY))
        over.wait(20)

    first, second = mirror(stalling), mirror(whole)
    began = time.monotonic()
    fetch(target, first, second)
    assert time.monotonic() - began < 10
    over.set()
    assert_complete(target)
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_all_mirrors_dead_is_told_with_each_reason(target: Path, mirror: Mirror) -> None:
    sites = [
        mirror(failing(404)),
        mirror(failing(500)),
        mirror(failing(200)),
        mirror(lambda _: None),
    ]
    with pytest.raises(DataError) as caught:
        fetch(target, *sites)
    first, *lines = str(caught.value).splitlines()
    assert first == "no mirror delivered it:"
    assert [line.split(": ")[0].strip() for line in lines] == [site.url for site in sites]
    for line, reason in zip(lines[:3], ("404", "500", "offers 26 bytes"), strict=True):
        assert reason in line
    assert [len(site.asked) for site in sites] == [TRIES] * len(sites)
    assert names(target) == {"file.gz.lock"}


def test_a_server_that_is_not_there_is_a_reason(target: Path, mirror: Mirror) -> None:
    url = "http://127.0.0.1:9/file"  # the port of `discard`: nobody listens
    with pytest.raises(DataError, match=rf"{url}: .*refused"):
        download([url], target, len(BODY), SHA256, pause=0)
    download([url, mirror(whole).url], target, len(BODY), SHA256, pause=0)
    assert_complete(target)


FETCH = """
import os, sys
from pathlib import Path
from degradation.data.download import download
for _ in range(4):
    if os.fork() == 0:
        download([sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], 0)
        os._exit(0)
sys.exit(any(os.wait()[1] for _ in range(4)))
"""


def test_of_many_processes_one_fetches(target: Path, mirror: Mirror) -> None:
    def slow(request: Request) -> None:
        time.sleep(0.5)  # the other three are there by now
        whole(request)

    site = mirror(slow)
    command = [sys.executable, "-c", FETCH, site.url, str(target), str(len(BODY)), SHA256]
    subprocess.run(command, check=True, timeout=60)
    assert_complete(target)
    assert (site.asked, site.served) == ([None], len(BODY))
