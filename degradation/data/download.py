"""Download one file of known SHA-256 from the first of several mirrors that delivers it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from degradation.data.dataset import DataError
from degradation.system import files
<<<<<<< HEAD
from degradation.system.console import short_repr

CHUNK = 1 << 18
STALL = 20.0  # seconds without a byte after which a mirror is left
TRIES = 3  # rounds over all mirrors
=======
>>>>>>> 933471d (Data: get_batch(step), torch's DataLoader for photographs, pooch for the download, published colour constants (callers follow))


def download(urls: Sequence[str], target: Path, sha256: str) -> None:
    """Fetch `target`, with a progress bar on a terminal; safe to call from many processes.

<<<<<<< HEAD
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
=======
    Only a complete and verified file gets the name `target`. Raises DataError.
>>>>>>> 933471d (Data: get_batch(step), torch's DataLoader for photographs, pooch for the download, published colour constants (callers follow))
    """
    import pooch  # with requests, half a second that only a download pays for

    bar = sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**18, timeout=20)
    files.make_folder(target.parent)
    reasons = []
    with files.lock(target.with_name(target.name + ".lock"), wait=True):
        for url in urls:
            try:
                pooch.retrieve(url, sha256, target.name, target.parent, downloader=downloader)
            except (OSError, ValueError) as error:
                reasons.append(f"{url}: {error}")
            else:
                return
    raise DataError("no mirror delivered it:\n    " + "\n    ".join(reasons))
