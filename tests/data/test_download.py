"""Downloads from a server of the test's own: verified, or refused."""

import hashlib
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from degradation.data.dataset import DataError
from degradation.data.download import download

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
ANSWERS = {
    "/whole": (200, BODY, len(BODY)),
    "/missing": (404, b"<html>not here</html>", 21),
    "/failing": (500, b"", 0),
    "/cut": (200, BODY[:100_000], len(BODY)),
    "/other": (200, BODY[:-1] + b"?", len(BODY)),
}


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body, length = ANSWERS[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[str]:
    """The address of a server; the path says how it answers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as listener:
        threading.Thread(target=listener.serve_forever, args=[0.02], daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()


@pytest.mark.parametrize("first", ["/whole", "/missing", "/failing", "/cut", "/other"])
def test_the_next_mirror_serves_where_one_does_not(first: str, server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file"
    download([server + first, server + "/whole"], target, SHA256)
    assert target.read_bytes() == BODY
    assert {path.name for path in target.parent.iterdir()} <= {"file", "file.lock"}


@pytest.mark.parametrize("answer", ["/missing", "/cut", "/other"])
def test_what_nobody_delivers_leaves_nothing_and_names_each_mirror(
    answer: str, server, tmp_path: Path
) -> None:
    urls = [server + answer, server + "/failing"]
    with pytest.raises(DataError, match="no mirror delivered it") as refusal:
        download(urls, tmp_path / "file", SHA256)
    assert all(url in str(refusal.value) for url in urls)
    assert {path.name for path in tmp_path.iterdir()} <= {"file.lock"}
