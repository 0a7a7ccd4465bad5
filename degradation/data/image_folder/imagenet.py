"""`data=imagenet`: a folder of photographs, `train/CLASS/*` and `val/CLASS/*`, read as needed.

    degradation data verify FOLDER [--skip FILE]
    degradation data prepare FOLDER TARGET [--side 480] [--quality 95]

Russakovsky et al. 2015 (ILSVRC 2012): 1,281,167 + 50,000 JPEGs in 1,000 classes; any folder of
this shape serves. At each start names and sizes are looked at, in seconds. `verify` decodes every
image and keeps the result beside the data; a small set is verified by the first run that reads
it. A image that can't be decoded ends the run that meets it, with its name: none is passed over
but those that data.skip lists.
"""

import argparse
import hashlib
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from degradation.config.schema import Data
from degradation.data.dataset import DataError
from degradation.data.image_folder import (
    decode,
    pca_lighting,
    prepare,
)
from degradation.data.image_folder import (
    manifest as folder,
)
from degradation.data.image_folder.manifest import Files, Manifest
from degradation.data.image_folder.pca_lighting import Colour
from degradation.system import console, files

log = logging.getLogger("degradation")

CLEAN = 50_000  # training images whose error is measured in eval mode: as many as test it
VERIFIED_AT_START = 10_000  # images, at most: a minute


@dataclass(frozen=True)
class Folder:
    """The data set: where its images are, and what was measured on them."""

    data: Data
    manifest: Manifest
    colour: Colour
    verified: bool
    """Whether every image was decoded once."""
    channels = 3

    @property
    def classes(self) -> int:
        return len(self.manifest.classes)

    @property
    def train(self) -> Files:
        return self.manifest.train

    @property
    def test(self) -> Files:
        return self.manifest.val

    @property
    def clean(self) -> Files:
        """The training images for the clean training error, evenly from all classes."""
        train = self.train
        rows = pca_lighting.evenly(len(train), CLEAN)
        columns = (train.paths, train.sizes, train.labels)
        paths, sizes, labels = (tuple(column[i] for i in rows) for column in columns)
        return Files(paths, sizes, labels)  # type: ignore[arg-type]

    @property
    def digest(self) -> str:
        """SHA-256 over the list of files and the colour that is subtracted and added."""
        return hashlib.sha256(f"{self.manifest.digest} {self.colour.digest}".encode()).hexdigest()

    @property
    def notes(self) -> dict[str, object]:
        """What a run writes down of its data, beside the digests."""
        skipped = "\n".join(self.manifest.skipped)
        return {
            **self.manifest.counts,
            "manifest": self.manifest.digest,
            "skip_list": hashlib.sha256(files.encoded(skipped)).hexdigest() if skipped else None,
            "colour": self.colour.digest,
            "colour_sample": self.colour.sample,
            "verified": self.verified,
            "prepared": prepare.origin(self.manifest.root),
        }


def load(data: Data) -> Folder:
    """The set in `data.root`. Raises DataError: missing, unsorted, incomplete, or unreadable."""
    assert data.crop_size is not None and data.eval_resize is not None
    manifest = _manifest(data)
    small = len(manifest.train) + len(manifest.val) <= VERIFIED_AT_START
    verified = prepare.verified(manifest)
    if small and not verified:
        prepare.verify(manifest)
    elif not verified:
        log.warning("%s: its images were never all decoded; a damaged one would end the training "
                    "that meets it: degradation data verify %s",
                    manifest.root, manifest.root)  # fmt: skip
    found = pca_lighting.of(manifest, data.crop_size, data.eval_resize)
    return Folder(data, manifest, found, small or verified)


def missing(data: Data) -> str:
    """Why the set can't be read, as far as names and sizes tell; else ""."""
    try:
        _manifest(data)
    except DataError as error:
        return str(error)
    return ""


def _manifest(data: Data) -> Manifest:
    skip = Path(data.skip).expanduser() if data.skip else None
    return folder.read(Path(data.root).expanduser(), skip)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="degradation data", allow_abbrev=False,
        description="Verify, or make smaller copies of, a folder of images.",
    )  # fmt: skip
    commands = found.add_subparsers(dest="command", required=True)
    verify = commands.add_parser("verify", help="decode every image once")
    smaller = commands.add_parser("prepare", help="copies whose shorter side is at most --side")
    for command in (verify, smaller):
        command.add_argument("folder", type=Path)
        command.add_argument("--skip", type=Path, help="file of paths to leave out, one a line")
    smaller.add_argument("target", type=Path)
    smaller.add_argument("--side", type=int, default=480)
    smaller.add_argument("--quality", type=int, default=95, choices=range(50, 101),
                         metavar="50 to 100")  # fmt: skip
    return found


def main(arguments: list[str]) -> int:
    """Exit status: 0, 3 data missing or damaged, 5 the disk refused."""
    console.show_messages()
    asked = parser().parse_args(arguments)
    try:
        manifest = folder.read(asked.folder, asked.skip)
        if asked.command == "verify":
            prepare.verify(manifest, every=True)
            print(json.dumps({**manifest.counts, "manifest": manifest.digest, **decode.versions()}))
        else:
            print(json.dumps(prepare.prepare(manifest, asked.target, asked.side, asked.quality)))
    except DataError as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 3
    except (files.StorageError, prepare.Refused) as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
