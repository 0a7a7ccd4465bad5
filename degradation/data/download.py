"""Download one file of known SHA-256 from the first of several mirrors that delivers it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from degradation.data.dataset import DataError
from degradation.system import files


def download(urls: Sequence[str], target: Path, sha256: str) -> None:
    """Fetch `target`, with a progress bar on a terminal; safe to call from many processes.

    Only a complete and verified file gets the name `target`. Raises DataError.
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
