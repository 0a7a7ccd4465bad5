"""Download one file of known size and digest: several mirrors, resumed after a cut, verified."""

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from degradation.data.dataset import DataError
from degradation.system import files
from degradation.system.console import short_repr

CHUNK = 1 << 18
STALL = 20.0  # seconds without a byte after which a mirror is left
TRIES = 3  # rounds over all mirrors


class OnItsHost(urllib.request.HTTPRedirectHandler):
    """Follows a mirror within itself: nowhere else, and never from https to less."""

    def redirect_request(self, *asked: Any) -> urllib.request.Request | None:
        request, new = asked[0], urllib.parse.urlsplit(asked[-1])
        old = urllib.parse.urlsplit(request.full_url)
        if (new.scheme, new.netloc) != (old.scheme, old.netloc):
            raise ValueError(f"sends on to {short_repr(asked[-1])}: must stay at {old.netloc}")
        return super().redirect_request(*asked)


_opener = urllib.request.build_opener(OnItsHost)


def download(urls: Sequence[str], target: Path, size: int, sha256: str, pause: float = 2.0) -> None:
    """Fetch `target` from the first of `urls` that delivers it; safe to call from many processes.

    Bytes gather in `<target>.part`, which a later call goes on with; only a complete and verified
    file gets the name `target`. `pause`: seconds before another round. Raises DataError.
    """
    files.make_folder(target.parent)
    with files.lock(target.with_name(target.name + ".lock"), wait=True):
        if target.is_file():
            return  # another process was faster
        part = target.with_name(target.name + ".part")
        _gather(urls, part, size, pause)
        digest = files.sha256_of(part)
        if digest != sha256:
            files.move(part, target.with_name(target.name + ".bad"))
            raise DataError(f"the download has SHA-256 {digest}, expected {sha256}; "
                            f"kept as {target.name}.bad")  # fmt: skip
        files.move(part, target)


def _gather(urls: Sequence[str], part: Path, size: int, pause: float) -> None:
    """Let `part` grow to `size` bytes."""
    reasons: list[str] = []
    with tqdm(total=size, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
        for attempt in range(TRIES):
            for url in urls:
                have = part.stat().st_size if part.exists() else 0
                if have > size:  # of another file: no server can go on with it
                    files.remove(part)
                    have = 0
                bar.update(have - bar.n)
                if have == size:
                    return
                try:
                    _append_from(url, part, have, size, bar)
                except (OSError, HTTPException, ValueError) as error:
                    reasons.append(f"{url}: {error}")
                else:
                    return
            if attempt + 1 < TRIES:
                time.sleep(pause)
    raise DataError("no mirror delivered it:\n    " + "\n    ".join(reasons[-len(urls) :]))


def _append_from(url: str, part: Path, have: int, size: int, bar: "tqdm[Any]") -> None:
    """Append the bytes from `have` on; raises where the server offers anything else."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with _opener.open(request, timeout=STALL) as answer:
        anew = have > 0 and answer.status != 206  # it starts at 0 whatever was asked
        have = 0 if anew else have
        offered = int(answer.headers.get("Content-Length") or -1)
        if offered >= 0 and have + offered != size:
            raise ValueError(f"offers {have + offered:,} bytes, expected {size:,}")
        if anew:  # only now: an error page must not cost what is there
            files.remove(part)
            bar.reset(total=size)
        with files.appending(part) as descriptor:
            while have < size and (chunk := answer.read(min(CHUNK, size - have))):
                files.write_all(descriptor, chunk)
                have += len(chunk)
                bar.update(len(chunk))
    if have != size:
        raise ValueError(f"cut after {have:,} of {size:,} bytes")
