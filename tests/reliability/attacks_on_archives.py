"""Hostile archives of data, and hostile mirrors: members are read by name, none is extracted.

The archive's own digest, which stops them all, is out of the way: what lies behind it must hold
alone. Z4, Z11, D9.
"""

import contextlib
import functools
import gzip
import hashlib
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from degradation.data import cifar10, download
from degradation.data.dataset import DataError

from .attack import Attack
from .child import Outcome
from .place import Place, asked
from .small_cifar import NAMES, RECORDS, Member, content_of, member

MEMORY = 256 * 2**20


GENUINE = [member(f"{cifar10.FOLDER}/{name}", content_of(name)) for name in NAMES]
GOOD = GENUINE[0][1]


def packed(members: list[Member], kind: int = tarfile.GNU_FORMAT) -> bytes:
    blocks = (
        entry.tobuf(kind, errors="surrogateescape") + content + bytes(-len(content) % 512)
        for entry, content in members
    )
    return gzip.compress(b"".join(blocks) + bytes(1024), 1, mtime=0)


def _link(name: str, target: str, kind: bytes) -> Member:
    return member(name, type=kind, linkname=target)


def _evil(place: str) -> list[Member]:
    return [member(place, b"ssh-rsa evil"), *GENUINE]


ARCHIVES: dict[str, tuple[list[Member], int]] = {
    "../": (_evil("../outside/x"), 0),
    "../../..": (_evil("../../../../../../tmp/ran"), 0),
    "down and up": (_evil(f"{cifar10.FOLDER}/../../outside/x"), 0),
    "an absolute name": (_evil("/tmp/ran"), 0),
    "a home": (_evil("~/.ssh/id"), 0),
    "a name with a backslash": (_evil("..\\outside\\x"), 0),
    "a name with a line end": (_evil("a\nb"), 0),
    "a name for a terminal": (_evil("\x1b]0;ran\x07"), 0),
    "a name of 5,000 characters": (_evil("x" * 5000), 0),
    "a link that leads out": (
        [_link("data_batch_1.bin", "../outside/.ssh/id", tarfile.SYMTYPE), *GENUINE[1:]],
        2,
    ),
    "a link, then a member through it": (
        [_link("d", "../outside", tarfile.SYMTYPE), member("d/x", b"evil"), *GENUINE],
        0,
    ),
    "a hard link that leads out": (
        [_link("data_batch_1.bin", "/etc/hostname", tarfile.LNKTYPE), *GENUINE[1:]],
        2,
    ),
    "a link to itself": ([_link("data_batch_1.bin", "data_batch_1.bin", tarfile.SYMTYPE)], 2),
    "a character device": (
        [member("data_batch_1.bin", type=tarfile.CHRTYPE, devmajor=1, devminor=3), *GENUINE[1:]],
        2,
    ),
    "a block device": ([member("data_batch_1.bin", type=tarfile.BLKTYPE), *GENUINE[1:]], 2),
    "a pipe": ([member("data_batch_1.bin", type=tarfile.FIFOTYPE), *GENUINE[1:]], 2),
    "a folder in a file's place": (
        [member("data_batch_1.bin", type=tarfile.DIRTYPE), *GENUINE[1:]],
        2,
    ),
    "setuid": ([member(f"{cifar10.FOLDER}/{n}", content_of(n), mode=0o6777) for n in NAMES], 0),
    "a duplicate, the second evil": (
        [*GENUINE, member(f"{cifar10.FOLDER}/{NAMES[0]}", GOOD[::-1])],
        2,
    ),
    "a duplicate, the first evil": ([member(NAMES[0], GOOD[::-1]), *GENUINE], 2),
    "a prefix of another folder": ([member(f"other/{n}", content_of(n)) for n in NAMES], 2),
    "nothing in it": ([], 2),
    "a negative size": ([member("data_batch_1.bin", size=-1), *GENUINE[1:]], 2),
    "a size of 8 TB": ([member("x", size=2**43), *GENUINE], 2),
    "five thousand members": ([member(f"x{i % 10}") for i in range(5_000)] + GENUINE, 0),
}


def _pax(headers: dict[str, str]) -> bytes:
    entry, content = member("data_batch_1.bin", GOOD)
    entry.pax_headers = headers
    return packed([(entry, content), *GENUINE[1:]], tarfile.PAX_FORMAT)


RAW: dict[str, tuple[bytes, int]] = {
    "a PAX path that leads out": (_pax({"path": "../../outside/x"}), 2),
    "a PAX path of 100,000 characters": (_pax({"path": "x/" * 50_000}), 2),
    "a PAX size that lies": (_pax({"size": "99999999999"}), 2),
    "a PAX size that is no number": (_pax({"size": "x"}), 2),
    "a PAX link": (_pax({"linkpath": "/etc/passwd"}), 0),
    "50 MB of zeros": (gzip.compress(bytes(50_000_000), 1), 2),
    "5 MB of headers": (gzip.compress(member("x")[0].tobuf() * 10_000, 1), 2),
    "a gzip of gzips": (gzip.compress(packed(GENUINE)), 2),
    "no gzip": (packed(GENUINE)[2:], 2),
    "cut in the middle": (packed(GENUINE)[:5000], 2),
    "rubbish behind": (packed(GENUINE) + b"rubbish" * 100, 0),
    "a checksum that lies": (packed(GENUINE)[:-8] + bytes(8), 0),
}


def _load(place: Place) -> int:
    try:
        cifar10.load(asked("data=cifar10", f"data.root={place.folder}/data").data)
    except DataError as error:
        print(str(error).encode("unicode_escape").decode()[:300])
        return 2
    return 0


def _read(content: bytes, place: Place) -> Outcome:
    place.write(f"data/{cifar10.ARCHIVE}", content)
    digests = {name: hashlib.sha256(content_of(name)).hexdigest() for name in NAMES}
    for name, value in (
        ("MEMBER_SHA256", digests),
        ("RECORDS", RECORDS),
        ("_check_archive", lambda _: None),
    ):
        place.change(cifar10, name, value)
    outcome = place.call(functools.partial(_load, place), MEMORY)
    assert sorted(p.name for p in (place.folder / "data").iterdir()) == [cifar10.ARCHIVE]
    return outcome


def _refuses(wanted: int) -> bool:
    return wanted != 0


class _Mirror(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def endless(self) -> None:
        """No length, and bytes for ever."""
        self.head(200)
        for _ in range(200):
            self.wfile.write(bytes(1 << 20))


SENDS: dict[str, Callable[[_Mirror], None]] = {
    "bytes for ever": _Mirror.endless,
    "a huge length": lambda m: m.head(200, Content_Length="99999999999999"),
    "a negative length": lambda m: m.head(200, Content_Length="-5"),
    "a length that is no number": lambda m: m.head(200, Content_Length="x"),
    "on to a file": lambda m: m.head(302, Location="file:///etc/passwd"),
    "on to ftp": lambda m: m.head(302, Location="ftp://127.0.0.1/x"),
    "on to another host": lambda m: m.head(301, Location="http://evil.example/x"),
    "on to another port": lambda m: m.head(307, Location="http://127.0.0.1:9/x"),
    "on to itself": lambda m: m.head(302, Location=m.path),
    "on to nowhere": lambda m: m.head(302, Location="http://[:::1/"),
    "a part that wasn't asked for": lambda m: m.head(206, Content_Length="1000"),
    "ten thousand headers": lambda m: m.head(200, **{f"x{i}": "y" for i in range(10_000)}),
    "a status for a terminal": lambda m: (
        m.wfile.write(b"HTTP/1.1 500 \x1b]0;ran\x07\r\n\r\n") and None
    ),
    "no HTTP": lambda m: m.wfile.write(b"SSH-2.0-x\r\n") and None,
}


def _fetch(do: Callable[[_Mirror], None], links: tuple[str, ...], place: Place) -> Outcome:
    def answer(handler: _Mirror) -> None:
        with contextlib.suppress(OSError):  # it has been left
            do(handler)

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Mirror,), {"do_GET": answer}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    data = place.folder / "data"
    data.mkdir()
    for name in links:
        (data / name).symlink_to("../../outside/.ssh/id")
    place.variables["no_proxy"] = "127.0.0.1"
    place.change(cifar10, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/x",))
    place.change(cifar10, "ARCHIVE_BYTES", 1_000_000)
    place.change(download, "TRIES", 1)
    place.change(download, "STALL", 2.0)
    try:
        outcome = place.call(functools.partial(_load, place), MEMORY)
    finally:
        server.shutdown()
        server.server_close()
    sizes = [path.stat().st_size for path in data.iterdir() if not path.is_symlink()]
    assert sum(sizes) <= 1_000_100, "more was taken than there should be"
    return outcome


ATTACKS = [
    *(
        Attack("archive", what, functools.partial(_read, packed(members)), _refuses(wanted))
        for what, (members, wanted) in ARCHIVES.items()
    ),
    *(
        Attack("archive", what, functools.partial(_read, content), _refuses(wanted))
        for what, (content, wanted) in RAW.items()
    ),
    *(
        Attack("mirror", f"sends {what}", functools.partial(_fetch, do, ()))
        for what, do in SENDS.items()
    ),
    *(
        Attack("link", f"data: {name}", functools.partial(_fetch, _Mirror.endless, (name,)))
        for name in (f"{cifar10.ARCHIVE}.part", f"{cifar10.ARCHIVE}.lock", f"{cifar10.ARCHIVE}.bad")
    ),
]
