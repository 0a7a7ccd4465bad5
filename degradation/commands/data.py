"""Check a folder of images (data=imagenet) once, before something is trained on it.

    degradation data verify FOLDER [--skip FILE] [--list FILE]

Every image is decoded. `--list` writes the paths of those that can't be, with what `--skip` lists,
into a file for data.skip=FILE. Exit status: 0, 3 where one can't be decoded, 5 the disk refused.
"""

import json
import os
from pathlib import Path

from tqdm import tqdm

from degradation.data.dataset import DataError
from degradation.data.image_folder import decode, loader, manifest
from degradation.data.image_folder.manifest import ImageFolder
from degradation.system import console, files


def main(arguments: list[str]) -> int:
    """The command; its exit status. Raises what `exit_status` turns into a message."""
    parser = console.parser("data", __doc__)
    add = parser.add_argument
    add("action", choices=("verify",))
    add("folder", type=Path)
    add("--skip", type=Path, metavar="FILE", help="paths to leave out, one a line")
    add("--list", type=Path, metavar="FILE", help="write the paths that can't be decoded here")
    options = parser.parse_args(arguments)
    console.show_messages()
    verify(manifest.read(options.folder, options.skip), options.list)
    return 0


def verify(images: ImageFolder, listed: Path | None) -> None:
    """Decode all images. Raises DataError, with the first that can't be."""
    count = len(images.train) + len(images.test)
    faults = loader.faults(images, workers=len(os.sched_getaffinity(0)))
    bar = tqdm(faults, total=count, desc="verify", unit="image", disable=None, leave=False)
    found = [(path, fault) for path, fault in bar if fault]
    if listed is not None:
        skip = sorted({*images.skipped, *(path for path, _ in found)})
        files.write_atomically(listed, "".join(f"{path}\n" for path in skip).encode())
    if found:
        where = f"\nall of them: data.skip={listed}" if listed else ""
        raise DataError(f"{manifest.faulty(images.root, found)}{where}")
    print(json.dumps({**images.counts, "manifest": images.digest, **decode.versions()}))
