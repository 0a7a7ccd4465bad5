"""Once for a folder of images: decode all of them, or write smaller copies of the large ones.

A copy whose shorter side is 480 serves training, whose shorter side is 480 at most (Sec. 3.4); what
is no larger is copied byte by byte. Copies are other bytes, so the folder of them has a digest of
its own, and a run begun on one does not go on on the other.
"""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from degradation.data.dataset import DataError
from degradation.data.image_folder import decode
from degradation.data.image_folder.manifest import Manifest, faulty
from degradation.data.image_folder.parallel_map import spread
from degradation.data.image_folder.pca_lighting import places
from degradation.system import files
from degradation.system.console import escape_control_chars


class Refused(RuntimeError):
    """The disk did, in another process; the message is meant for people."""


ORIGIN = "prepared.json"
LISTED = ".degradation-faulty.txt"


def verified(manifest: Manifest) -> bool:
    """Whether `verify` found nothing in exactly these files."""
    for place in places(manifest.root):
        try:
            found = files.read_json(_record(place, manifest))
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("manifest") == manifest.digest:
            return True
    return False


def verify(manifest: Manifest, every: bool = False) -> None:
    """Decode all images and keep that they are sound. Raises DataError, naming those that aren't.

    `every`: list all of them in a file beside the data, for data.skip.
    """
    paths = [*manifest.train.paths, *manifest.val.paths]
    said = spread(partial(_check, manifest.root), paths, "verify")
    faults = [(path, fault) for path, fault in zip(paths, said, strict=True) if fault]
    if faults:
        error = faulty(manifest.root, faults)
        raise DataError(f"{error}{_listed(manifest, faults) if every else ''}")
    record = {"manifest": manifest.digest, **manifest.counts, **decode.versions()}
    for place in places(manifest.root):
        try:
            files.make_folder(place)
            files.write_json(_record(place, manifest), record)
            return
        except files.StorageError:  # the data is often read-only
            continue


def _listed(manifest: Manifest, faults: list[tuple[str, str]]) -> str:
    """Where all of them are listed, in words; "" where nothing can be written."""
    content = "".join(f"{path}\n" for path in sorted({*manifest.skipped, *(p for p, _ in faults)}))
    for place in places(manifest.root):
        try:
            files.make_folder(place)
            files.write_atomically(place / LISTED, content.encode())
            return f"\nall of them: data.skip={place / LISTED}"
        except files.StorageError:
            continue
    return ""


def _record(place: Path, manifest: Manifest) -> Path:
    return place / f".degradation-verified-{manifest.digest[:16]}.json"


def _check(root: Path, path: str) -> str:
    return decode.check(root / path)


def origin(root: Path) -> dict[str, Any] | None:
    """Of what folder `root` holds smaller copies, and how they were made. Raises DataError."""
    try:
        found = files.read_json(root / ORIGIN)
    except ValueError as error:
        raise DataError(escape_control_chars(f"{error}; prepare the folder again, or remove that file")) from error
    return found if isinstance(found, dict) else None


def prepare(manifest: Manifest, target: Path, side: int, quality: int) -> dict[str, Any]:
    """Fill `target`; what is there already is kept, so that a cut one goes on. What was done.

    Raises DataError for a image that can't be read, or a target made in another way.
    """
    asked = {"source": manifest.digest, "side": side, "quality": quality, **decode.versions()}
    begun = target / f".{ORIGIN}"
    files.make_folder(target)
    before = origin(target) or files.read_json(begun)
    if before is not None and any(before.get(key) != value for key, value in asked.items()):
        raise DataError(f"{target}: holds copies made in another way ({json.dumps(before)}); "
                        "remove it, or name another folder")  # fmt: skip
    files.write_json(begun, asked)
    for split in (manifest.train, manifest.val):
        for folder in sorted({Path(path).parent for path in split.paths}):
            files.make_folder(target / folder)
    paths = [*manifest.train.paths, *manifest.val.paths]
    work = partial(_copy, manifest.root, target, side, quality)
    done = list(spread(work, paths, "prepare"))
    if faults := [(p, fault) for p, (fault, _) in zip(paths, done, strict=True) if fault]:
        raise faulty(manifest.root, faults)
    smaller = sum(was_smaller for _, was_smaller in done)
    result = {**asked, **manifest.counts, "smaller": smaller}
    files.write_json(target / ORIGIN, result)
    return result


def _copy(root: Path, target: Path, side: int, quality: int, path: str) -> tuple[str, bool]:
    """Make one copy: its fault, else ""; whether it is a smaller image."""
    try:
        with decode.opened(root / path) as image:
            smaller = min(image.size) > side
            if (target / path).exists():  # atomic: it is whole
                return "", smaller
            content = _encoded(image, side, quality) if smaller else files.read(root / path)
    except decode.Unreadable as error:
        return str(error), False
    if not smaller and (fault := decode.check(root / path)):
        return fault, False
    try:
        files.write_atomically(target / path, content)
    except files.StorageError as error:
        raise Refused(str(error).replace("machine.runs=", "TARGET ")) from None
    return "", smaller


def _encoded(image: Image.Image, side: int, quality: int) -> bytes:
    size = decode.resized(*image.size, side)
    copy = decode.rgb(image).resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    copy.save(content, "JPEG", quality=quality, subsampling=0)
    return content.getvalue()
