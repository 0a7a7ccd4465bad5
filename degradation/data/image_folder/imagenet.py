"""`data=imagenet`: a folder of photographs, `train/CLASS/*` and `val/CLASS/*`, read as needed.

Russakovsky et al. 2015 (ILSVRC 2012): 1,281,167 + 50,000 JPEGs in 1,000 classes; any folder of this
shape serves. A start looks at names and sizes alone, in seconds. An image that can't be decoded
ends the run that meets it, with its name; `degradation data verify` decodes all of them beforehand.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degradation.config.schema import Data
from degradation.data.dataset import DataError
from degradation.data.image_folder import manifest
from degradation.data.image_folder.manifest import Files, Manifest
from degradation.system import files

TRAIN_EVAL_IMAGES = 50_000
"""Training images whose error is measured in eval mode: as many as ImageNet's test set has."""

# The mean colour of ImageNet's training images and the principal components of their pixels, from 0
# to 1, as fb.resnet.torch publishes them (datasets/imagenet.lua).
MEAN = np.array([0.485, 0.456, 0.406])
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]]
)
"""One a line."""
LIGHTING = 0.1 * EIGENVALUES[:, None] * EIGENVECTORS
"""What a normal number for each component adds to a colour (Krizhevsky et al. 2012, Sec. 4.1)."""


@dataclass(frozen=True)
class ImageFolder:
    """The data set: where its images are."""

    data: Data
    manifest: Manifest
    channels = 3

    @property
    def classes(self) -> int:
        return len(self.manifest.classes)

    @property
    def digest(self) -> str:
        """SHA-256 over the list of files."""
        return self.manifest.digest

    @property
    def train(self) -> Files:
        return self.manifest.train

    @property
    def test(self) -> Files:
        return self.manifest.val

    @property
    def train_eval(self) -> Files:
        """The training images for the training error in eval mode, evenly from all classes."""
        return self.train.evenly(TRAIN_EVAL_IMAGES)

    @property
    def notes(self) -> dict[str, object]:
        """What a run writes down of its data, beside the digests."""
        skipped = "\n".join(self.manifest.skipped)
        digest = hashlib.sha256(files.encoded(skipped)).hexdigest() if skipped else None
        return {**self.manifest.counts, "manifest": self.manifest.digest, "skip_list": digest}


def load(data: Data) -> ImageFolder:
    """The set in `data.root`. Raises DataError: missing, unsorted or incomplete."""
    skip = Path(data.skip).expanduser() if data.skip else None
    return ImageFolder(data, manifest.read(Path(data.root).expanduser(), skip))


def missing(data: Data) -> str:
    """Why the set can't be read, as far as names and sizes tell; else ""."""
    try:
        load(data)
    except DataError as error:
        return str(error)
    return ""
<<<<<<< HEAD


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
=======
>>>>>>> 933471d (Data: get_batch(step), torch's DataLoader for photographs, pooch for the download, published colour constants (callers follow))
