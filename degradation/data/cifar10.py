"""`data=cifar10`: the official binary archive, every byte of it verified.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Six files of 10,000
records; a record is one label byte and 3,072 pixel bytes, red plane, green plane, blue plane. The
binary version is read, since the Python one is six pickles. It is read without being unpacked.
"""

import hashlib
import io
import shlex
import tarfile
from pathlib import Path

import numpy as np

from degradation.config.schema import Data
from degradation.data.dataset import DataError, ImageDataset, Split, split_validation
from degradation.data.download import download
from degradation.system import files

ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FILES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",  # the origin, slow since June 2026
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
)
SIDE, CHANNELS, CLASSES = 32, 3, 10
REMEDY = "remove it to download it anew"


def load(data: Data) -> ImageDataset:
    """The set, from `data.root` or downloaded into it. Raises DataError (missing, damaged)."""
    archive = Path(data.root).expanduser() / ARCHIVE
    if fault := missing(data):
        raise DataError(fault)
    if not archive.is_file():
        try:
            download(MIRRORS, archive, ARCHIVE_SHA256)
        except DataError as error:
            raise DataError(_missing(archive, " ".join(str(error).split()))) from error
    splits = [_parse(content) for content in _contents(archive)]
    everything = Split(
        np.concatenate([split.images for split in splits[:-1]]),
        np.concatenate([split.labels for split in splits[:-1]]),
    )
    train, validation = split_validation(everything, data.val_size)
    return ImageDataset(train, validation, splits[-1], CLASSES, max_value=255)


def missing(data: Data) -> str:
    """Why the set can't be read, where that is plain to see; else ""."""
    archive = Path(data.root).expanduser() / ARCHIVE
    there = data.download or archive.is_file()
    return "" if there else _missing(archive, "data.download=false")


def _contents(archive: Path) -> list[bytes]:
    """The six files in the archive, which is opened only if it is the published one."""
    try:
        content = files.read(archive)
    except OSError as error:
        raise DataError(f"{archive}: {error.strerror}; let this user read it") from error
    if (digest := hashlib.sha256(content).hexdigest()) != ARCHIVE_SHA256:
        raise DataError(
            f"{archive}: damaged: {len(content):,} bytes with SHA-256 {digest}, expected "
            f"{ARCHIVE_SHA256}; {REMEDY}"
        )
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        # In the archive's own order: to go back in it is to decompress it again.
        contents = {
            Path(member.name).name: file.read()
            for member in tar
            if (file := tar.extractfile(member))
        }
    return [contents[name] for name in FILES]


def _parse(content: bytes) -> Split:
    """The records of one file; images as (n, 32, 32, 3)."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + CHANNELS * SIDE * SIDE)
    planes = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return Split(planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int64))


def _missing(archive: Path, why: str) -> str:
    where = archive.resolve()
    return (
        f"CIFAR-10 is not there ({why}).\n"
        f"  looked for: {where}\n"
        f"  expected:   170,052,171 bytes, SHA-256 {ARCHIVE_SHA256}\n"
        f"  get it:     curl --create-dirs -o {shlex.quote(str(where))} {MIRRORS[0]}\n"
        f"  or:         data.download=true, data.root=FOLDER; data=digits runs on built-in data"
    )
