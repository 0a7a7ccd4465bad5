"""`data=cifar10`: the official binary archive, every byte of it verified.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Six files of 10,000
records; a record is one label byte and 3,072 pixel bytes, red plane, green plane, blue plane. The
binary version is read, since the Python one is six pickles.
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
FOLDER = "cifar-10-batches-bin"
FILE_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",  # the origin, slow since June 2026
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
)
SIDE, CHANNELS, CLASSES = 32, 3, 10
REMEDY = f"remove it (and the folder {FOLDER}, if there is one) to download the archive anew"


def load(data: Data) -> ImageDataset:
    """The set, from `data.root` or downloaded into it. Raises DataError (missing, damaged)."""
    if absent := missing(data):
        raise DataError(absent)
    root = Path(data.root).expanduser()
    folder, archive = root / FOLDER, root / ARCHIVE
    if folder.is_dir():
        splits = [_parse(_verified(folder / name, sha)) for name, sha in FILE_SHA256.items()]
    else:
        if not archive.is_file():
            _fetch(archive)
        splits = [_parse(content) for content in _archived(archive)]
    everything = Split(
        np.concatenate([split.images for split in splits[:-1]]),
        np.concatenate([split.labels for split in splits[:-1]]),
    )
    train, validation = split_validation(everything, data.val_size)
    return ImageDataset(train, validation, splits[-1], CLASSES, max_value=255)


def missing(data: Data) -> str:
    """Why the set can't be read, where that is plain to see; else ""."""
    root = Path(data.root).expanduser()
    if data.download or (root / FOLDER).is_dir() or (root / ARCHIVE).is_file():
        return ""
    return _missing(root, "data.download=false")


def _fetch(archive: Path) -> None:
    try:
        download(MIRRORS, archive, ARCHIVE_SHA256)
    except DataError as error:
        raise DataError(_missing(archive.parent, " ".join(str(error).split()))) from error


def _verified(path: Path, sha256: str) -> bytes:
    """What a file holds. Raises DataError where that isn't what was published."""
    try:
        content = files.read(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; let this user read it, or {REMEDY}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DataError(
            f"{path}: damaged: {len(content):,} bytes with SHA-256 {digest}, expected {sha256}; "
            f"{REMEDY}"
        )
    return content


def _archived(archive: Path) -> list[bytes]:
    """The six files in the archive, which is opened only if it is the published one."""
    content = io.BytesIO(_verified(archive, ARCHIVE_SHA256))
    with tarfile.open(fileobj=content, mode="r:gz") as tar:
        # In the archive's own order: to go back in it is to decompress it again.
        contents = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    return [contents[f"{FOLDER}/{name}"] for name in FILE_SHA256]


def _parse(content: bytes) -> Split:
    """The records of one file; images as (n, 32, 32, 3)."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + CHANNELS * SIDE * SIDE)
    planes = records[:, 1:].reshape(-1, CHANNELS, SIDE, SIDE)
    return Split(planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int64))


def _missing(root: Path, why: str) -> str:
    where = root.resolve()
    return (
        f"CIFAR-10 is not there ({why}).\n"
        f"  looked for: {where / FOLDER}/*.bin and {where / ARCHIVE}\n"
        f"  expected:   {ARCHIVE}, 170,052,171 bytes, SHA-256 {ARCHIVE_SHA256}\n"
        f"  get it:     curl --create-dirs -o {shlex.quote(str(where / ARCHIVE))} {MIRRORS[0]}\n"
        f"  or:         data.download=true, data.root=FOLDER; data=digits runs on built-in data"
    )
