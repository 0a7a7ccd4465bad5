"""The mean colour of the training images, and the principal components of their pixels.

Measured once, on the centres of up to 10,000 training images spread evenly over the list, and
kept under the digest of all that decides it. The mean is a colour, not a image: a crop at a
random place and scale has no fixed pixels, so that the mean over crops is nearly the same
everywhere; and the tests at other sizes (Table 4) need it at every size.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degradation.data.image_folder import decode
from degradation.data.image_folder.manifest import Manifest, faulty
from degradation.data.image_folder.parallel_map import spread
from degradation.system import files
from degradation.system.console import escape_control_chars

log = logging.getLogger("degradation")

SAMPLE = 10_000  # images; another number is another measurement
DIGITS = 9  # kept after the run: what a linear algebra library gives alike on every machine
WHITE = 255


@dataclass(frozen=True)
class Colour:
    """White is 1."""

    mean: tuple[float, ...]
    """Of red, green, blue."""
    eigenvalues: tuple[float, ...]
    """Of the covariance of pixels, the greatest first. AlexNet's noise is 0.1 of these, and not of
    their roots: so says the paper, and with white as 1 that is a tenth of a typical contrast."""
    eigenvectors: tuple[tuple[float, ...], ...]
    """One a row, its largest component positive."""
    sample: int
    """Images it was measured on."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def of(manifest: Manifest, crop: int, resize: int) -> Colour:
    """Measured, or as it was the last time. Raises DataError."""
    asked = {"manifest": manifest.digest, "crop": crop, "resize": resize, "sample": SAMPLE,
             **decode.versions()}  # fmt: skip
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    name = f".degradation-colour-{key[:16]}.json"
    for folder in places(manifest.root):
        try:
            files.make_folder(folder)
            with files.lock(folder / f"{name}.lock", wait=True):
                if (found := _kept(folder / name, asked)) is None:
                    found = measure(manifest, crop, resize)
                    files.write_json(folder / name, {"of": asked, "colour": asdict(found)})
                    log.info("mean colour and components of %d images: %s", found.sample,
                             folder / name)  # fmt: skip
                return found
        except files.StorageError:  # the data is often read-only
            continue
    return measure(manifest, crop, resize)


def places(root: Path) -> tuple[Path, ...]:
    """Where measurements of the folder `root` are kept: there, else in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return root, Path(cache).expanduser() / "degradation"


def _kept(file: Path, asked: dict[str, Any]) -> Colour | None:
    """What `file` holds, if it is of what is asked; a damaged one is measured again."""
    try:
        content = files.read_json(file)
        if content is None or content["of"] != asked:
            return None
        kept = content["colour"]
        return Colour(
            tuple(map(float, kept["mean"])),
            tuple(map(float, kept["eigenvalues"])),
            tuple(tuple(map(float, row)) for row in kept["eigenvectors"]),
            int(kept["sample"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s", escape_control_chars(f"{file}: {error}; it is measured again"))
        return None


def measure(manifest: Manifest, crop: int, resize: int) -> Colour:
    """Over the pixels of the sample's centres, in whole numbers: exact in any order."""
    paths = [manifest.train.paths[i] for i in evenly(len(manifest.train), SAMPLE)]
    work = partial(_sums, manifest.root, crop, resize)
    found = spread(work, paths, "mean colour")
    sums, products = _added(manifest.root, found)
    pixels = len(paths) * crop**2 * WHITE
    mean = sums / pixels
    covariance = products / (pixels * WHITE) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors.T[::-1]
    signs = np.sign(vectors[np.arange(3), np.abs(vectors).argmax(axis=1)])
    return Colour(
        _rounded(mean),
        _rounded(values[::-1]),
        tuple(map(_rounded, vectors * signs[:, None])),
        len(paths),
    )


def _added(
    root: Path, found: Iterable[tuple[str, NDArray[np.int64]]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    faults, total = list[tuple[str, str]](), np.zeros(12, np.int64)
    for said, numbers in found:
        total += numbers
        if said:
            path, _, fault = said.partition("\t")
            faults.append((path, fault))
    if faults:
        raise faulty(root, faults)
    return total[:3], total[3:].reshape(3, 3)


def _sums(root: Path, crop: int, resize: int, path: str) -> tuple[str, NDArray[np.int64]]:
    """Of one image: its fault, else ""; the sums of its pixels, and of their products."""
    try:
        pixels = decode.centre_view(root / path, crop, resize).reshape(-1, 3).astype(np.float64)
    except decode.Unreadable as error:
        return f"{path}\t{error}", np.zeros(12, np.int64)
    # Whole numbers far below 2^53: the products are exact, in whatever order they are added.
    both = np.concatenate([pixels.sum(axis=0), (pixels.T @ pixels).ravel()])
    return "", both.astype(np.int64)


def evenly(count: int, most: int) -> list[int]:
    """All of `count`, or `most` of them at equal distances."""
    return [i * count // min(count, most) for i in range(min(count, most))]


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(n), DIGITS) for n in numbers)
