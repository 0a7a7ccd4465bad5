"""Downloads from a server of the test's own: verified, once for all processes, or refused."""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from degradation.data.dataset import DataError
from degradation.data.download import download

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
ANSWERS = {
    "whole": (200, BODY, len(BODY)),
    "missing": (404, b"<html>not here</html>", 21),
    "failing": (500, b"", 0),
    "cut": (200, BODY[:100_000], len(BODY)),
    "other bytes": (200, BODY[:-1] + b"?", len(BODY)),
}


class Answering(BaseHTTPRequestHandler):
    answer: str
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        status, body, length = ANSWERS[self.answer]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[str, list[str]]]]:
    """Starts a server that always gives the same answer; its URL, and what it was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(answer: str) -> tuple[str, list[str]]:
        requests: list[str] = []
        handler = type("Handler", (Answering,), {"answer": answer, "requests": requests})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/file", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_comes_whole_under_its_name(mirror, tmp_path: Path) -> None:
    url, _ = mirror("whole")
    target = tmp_path / "new" / "folder" / "file"
    download([url], target, SHA256)
    assert target.read_bytes() == BODY
    assert {path.name for path in target.parent.iterdir()} <= {"file", "file.lock"}


@pytest.mark.parametrize("first", ["missing", "failing", "cut", "other bytes"])
def test_the_next_mirror_serves_where_one_does_not(first: str, mirror, tmp_path: Path) -> None:
    download([mirror(first)[0], mirror("whole")[0]], tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("answer", ["missing", "cut", "other bytes"])
def test_what_nobody_delivers_leaves_nothing_and_names_each_mirror(
    answer: str, mirror, tmp_path: Path
) -> None:
    urls = [mirror(answer)[0], mirror("failing")[0]]
    with pytest.raises(DataError, match="no mirror delivered it") as refusal:
        download(urls, tmp_path / "file", SHA256)
    assert all(url in str(refusal.value) for url in urls)
    assert {path.name for path in tmp_path.iterdir()} <= {"file.lock"}


def test_several_at_once_download_one_time(mirror, tmp_path: Path) -> None:
    url, requests = mirror("whole")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: download([url], tmp_path / "file", SHA256), range(4)))
    assert len(requests) == 1 and (tmp_path / "file").read_bytes() == BODY
