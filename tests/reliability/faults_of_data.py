"""Data that is missing, damaged or somebody else's: catalogue D1 to D10, Z11.

Small files of the genuine format stand in for CIFAR-10; their digests are put in the place of the
genuine ones, in the child alone.
"""

import functools
import gzip
import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from degradation.data import cifar10, digits, download
from degradation.data.dataset import DataError

from .child import NOBODY, Outcome, can_drop_root
from .fault import Fault
from .place import Place, asked
from .small_cifar import NAMES, RECORDS, content_of

CIFAR = (
    "data=cifar10",
    "recipe=digits",
    "depth=8",
    "machine.wandb=disabled",
    "data.download=false",
)


def _pin(place: Place) -> Path:
    """The six small files in the data folder, with digests to match."""
    digests = {name: hashlib.sha256(content_of(name)).hexdigest() for name in NAMES}
    place.change(cifar10, "MEMBER_SHA256", digests)
    place.change(cifar10, "RECORDS", RECORDS)
    folder = place.folder / "data" / cifar10.FOLDER
    for name in NAMES:
        place.write(f"data/{cifar10.FOLDER}/{name}", content_of(name))
    return folder


def _folder(change: Callable[[Path], object], place: Place) -> Outcome:
    change(_pin(place))
    return place.worker("data=cifar10", "data.download=false", f"data.root={place.folder}/data")


def folder(id: str, what: str, change: Callable[[Path], object], *says: str) -> Fault:
    """CIFAR-10's folder, of which `change` has made something else."""
    remedy = () if id == "D10" else ("remove it",)
    return Fault(
        id, f"cifar-10-batches-bin: {what}", functools.partial(_folder, change), (*says, *remedy), 3
    )


def _write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def _swap(folder: Path) -> None:
    one, other = folder / "data_batch_1.bin", folder / "test_batch.bin"
    mine, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(mine)


def _archive(content: bytes, size: int | None, place: Place) -> Outcome:
    place.write(f"data/{cifar10.ARCHIVE}", content)
    if size is not None:
        place.change(cifar10, "ARCHIVE_BYTES", size)
    return place.worker("data=cifar10", "data.download=false", f"data.root={place.folder}/data")


def archive(id: str, what: str, content: bytes, *says: str, size: int | None = None) -> Fault:
    return Fault(
        id,
        f"archive: {what}",
        functools.partial(_archive, content, size),
        (cifar10.ARCHIVE, *says, "remove it"),
        3,
    )


def _bomb(place: Place) -> Outcome:
    """A hundred megabytes of zeros in few bytes: its digest is wrong, so it stays shut."""
    content = gzip.compress(bytes(100_000_000), 1)
    place.change(cifar10.tarfile, "open", lambda *_, **__: 1 / 0)
    return _archive(content, len(content), place)


class _Answers(BaseHTTPRequestHandler):
    answer: tuple[int, dict[str, str], bytes] = (404, {}, b"")

    def do_GET(self) -> None:
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _server(status: int, headers: dict[str, str], body: bytes, place: Place) -> Outcome:
    handler = type("Handler", (_Answers,), {"answer": (status, headers, body)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    place.variables["no_proxy"] = "127.0.0.1"
    try:
        return _download(f"http://127.0.0.1:{server.server_port}/x.tar.gz", place)
    finally:
        server.shutdown()
        server.server_close()


def _download(url: str, place: Place) -> Outcome:
    place.change(cifar10, "MIRRORS", (url,))
    place.change(download, "TRIES", 1)
    place.change(cifar10, "ARCHIVE_BYTES", 1000)
    outcome = place.worker("data=cifar10", f"data.root={place.folder}/data")
    assert not (place.folder / "data" / cifar10.ARCHIVE).exists()
    return outcome


def server(
    id: str, what: str, status: int, headers: dict[str, str], body: bytes, *says: str
) -> Fault:
    """A mirror that answers so."""
    return Fault(
        id,
        f"mirror: {what}",
        functools.partial(_server, status, headers, body),
        (*says, "data.root=FOLDER", "data=digits"),
        3,
    )


def _closed(place: Place) -> Outcome:
    (place.folder / "data").mkdir(mode=0o555)
    place.folder.chmod(0o755)
    place.user = NOBODY if can_drop_root() else None

    def load() -> int:
        try:
            cifar10.load(asked("data=cifar10", "data.root=data").data)
        except DataError as error:
            print(error)
        return 3

    return place.call(load)


def _no_sklearn(place: Place) -> Outcome:
    place.change(digits.importlib.util, "find_spec", lambda name: None)
    return place.worker()


FAULTS: list[Fault] = [
    Fault(
        "D1",
        "missing, and no download",
        lambda p: p.run(*CIFAR, "data.root=none"),
        ("none/cifar-10-batches-bin", "170,052,171 bytes", "curl --create-dirs -o", "data.root="),
        status=3,
        touches=False,
    ),
    Fault(
        "D1",
        "missing, for each run of a study",
        lambda p: p.run("-m", *CIFAR, "data.root=none", "model=plain,residual", "seed=0,1"),
        ("CIFAR-10 is not there", "curl --create-dirs -o"),
        status=3,
        touches=False,
    ),
    Fault(
        "D1",
        "missing, though others aren't",
        lambda p: p.worker("data=cifar10", "data.download=false"),
        ("CIFAR-10 is not there", "curl"),
        status=3,
    ),
    Fault(
        "D1",
        "scikit-learn is missing",
        _no_sklearn,
        ("data=digits", "pip install scikit-learn"),
        status=3,
    ),
    archive("D2", "of another size", b"\x1f\x8b" + bytes(500), "502 bytes, expected 170,052,171"),
    archive("D2", "a web page", b"\n<!DOCTYPE html><html>log in</html>", "it is a web page"),
    archive("D2", "empty", b"", "0 bytes, expected 170,052,171"),
    archive("D2", "of another digest", bytes(600), "SHA-256", cifar10.ARCHIVE_SHA256, size=600),
    server("D3", "404", 404, {}, b"", "404"),
    server("D3", "500", 500, {}, b"", "500"),
    server(
        "D3",
        "a page of another size",
        200,
        {"Content-Length": "26"},
        b"x" * 26,
        "offers 26 bytes, expected 1,000",
    ),
    server("D3", "cut off", 200, {"Content-Length": "1000"}, b"x" * 300, "300 of 1,000"),
    server("D3", "other bytes", 200, {"Content-Length": "1000"}, b"x" * 1000, "SHA-256", ".bad"),
    Fault(
        "D3",
        "mirror: nobody there",
        functools.partial(_download, "http://127.0.0.1:9/x"),
        ("refused", "data=digits"),
        3,
    ),
    server("Z11", "sends on to a file", 302, {"Location": "file:///etc/passwd"}, b"", "127.0.0.1"),
    server(
        "Z11",
        "sends on to another host",
        302,
        {"Location": "http://evil.example/x"},
        b"",
        "evil.example",
        "must stay at 127.0.0.1",
    ),
    folder(
        "D4",
        "a batch too short",
        _write(NAMES[1], content_of(NAMES[1])[:-1]),
        NAMES[1],
        "12,291 bytes, not 12,292",
    ),
    folder("D4", "a batch empty", _write(NAMES[5], b""), NAMES[5], "0 bytes, not 12,292"),
    folder(
        "D4",
        "a label above 9",
        _write(NAMES[2], b"\x0a" + content_of(NAMES[2])[1:]),
        NAMES[2],
        "label 10 at byte 0",
        "0 to 9",
    ),
    folder(
        "D4",
        "a flipped bit",
        _write(NAMES[3], content_of(NAMES[3])[:-1] + b"?"),
        NAMES[3],
        "is damaged: SHA-256",
    ),
    folder("D4", "a file missing", lambda f: (f / NAMES[4]).unlink(), NAMES[4], "No such file"),
    folder(
        "D5",
        "train and test swapped",
        _swap,
        "data_batch_1.bin",
        "holds what test_batch.bin should",
    ),
    folder(
        "D5",
        "two batches alike",
        _write(NAMES[0], content_of(NAMES[1])),
        NAMES[0],
        "holds what data_batch_2.bin should",
    ),
    Fault("D9", "archive: a bomb", _bomb, (cifar10.ARCHIVE, "SHA-256", "remove it"), 3),
    Fault(
        "D10",
        "a data folder that can't be written",
        _closed,
        ("data/", "Permission denied", "data.root=OTHER"),
        3,
    ),
    Fault(
        "C5",
        "all images held out",
        lambda p: p.worker("data.val_size=1438"),
        ("data.val_size=1438", "below 1438"),
        3,
    ),
]
