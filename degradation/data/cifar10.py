"""`data=cifar10`: the official binary archive, every byte of it verified.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Six files of 10,000
records; a record is one label byte and 3,072 pixel bytes, red plane, green plane, blue plane. The
binary version, since the Python one is six pickles; read by member name and never extracted, so
that no archive can write anywhere.
"""

import hashlib
import shlex
import tarfile
import zlib
from pathlib import Path

import numpy as np

from degradation.config.schema import Data
from degradation.data.dataset import (
    DataError,
    ImageDataset,
    Split,
    split_off,
)
from degradation.data.download import download
from degradation.system import files

ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_BYTES = 170_052_171
ARCHIVE_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
MEMBER_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
RECORDS, SIDE, CHANNELS, CLASSES, WHITE = 10_000, 32, 3, 10, 255
MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",  # the origin, slow since June 2026
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
)


def load(data: Data) -> ImageDataset:
    """The set, from `data.root` or downloaded into it. Raises DataError (missing, damaged)."""
    members = _members(Path(data.root).expanduser(), data.download)
    splits = [_parse(members[name]) for name in MEMBER_SHA256]
    everything = Split(
        np.concatenate([s.images for s in splits[:-1]]),
        np.concatenate([s.labels for s in splits[:-1]]),
    )
    train, held_out = split_off(everything, data.val_size)
    return ImageDataset(train, held_out, splits[-1], CLASSES, WHITE)


def missing(data: Data) -> str:
    """Why the set can't be read, where that is plain to see; else ""."""
    root = Path(data.root).expanduser()
    if data.download or (root / FOLDER).is_dir() or (root / ARCHIVE).is_file():
        return ""
    return _missing(root, "data.download=false")


def _members(root: Path, may_download: bool) -> dict[str, bytes]:
    """The six files by name, verified: from the unpacked folder, else from the archive."""
    folder, archive = root / FOLDER, root / ARCHIVE
    if folder.is_dir():
        return {name: _from_folder(folder, name) for name in MEMBER_SHA256}
    if not archive.is_file():
        if not may_download:
            raise DataError(_missing(root, "data.download=false"))
        try:
            download(MIRRORS, archive, ARCHIVE_BYTES, ARCHIVE_SHA256)
        except DataError as error:
            raise DataError(_missing(root, " ".join(str(error).split()))) from error
        except files.StorageError as error:
            raise DataError(str(error).replace("machine.runs=", "data.root=")) from error
    return _from_archive(archive)


def _from_folder(folder: Path, name: str) -> bytes:
    try:
        content = files.read(folder / name)
    except OSError as error:
        raise DataError(
            f"{folder / name}: {error.strerror}; the folder must hold {', '.join(MEMBER_SHA256)}. "
            f"Complete it, or remove it so that {ARCHIVE} is read or downloaded"
        ) from error
    return _verified(folder / name, name, content)


def _from_archive(archive: Path) -> dict[str, bytes]:
    _check_archive(archive)
    members = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                name = entry.name.removeprefix(f"{FOLDER}/")
                # The size is checked first: a member can't be made to fill the memory.
                if name in MEMBER_SHA256 and entry.isfile() and entry.size == _bytes_of_a_batch():
                    stream = tar.extractfile(entry)
                    assert stream is not None
                    members[name] = _verified(archive, name, stream.read())
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise DataError(f"{archive}: damaged ({error}); {_REMEDY}") from error
    if missing := [name for name in MEMBER_SHA256 if name not in members]:
        raise DataError(f"{archive}: {', '.join(missing)} missing in it; {_REMEDY}")
    return members


def _check_archive(archive: Path) -> None:
    """Before it is opened: what isn't the official archive is never decompressed."""
    try:
        size = archive.stat().st_size
        if size != ARCHIVE_BYTES:
            with archive.open("rb") as file:
                page = "; it is a web page" if file.read(64).lstrip()[:1] == b"<" else ""
            raise DataError(f"{archive}: {size:,} bytes, expected {ARCHIVE_BYTES:,}{page}; "
                            f"{_REMEDY}")  # fmt: skip
        if (digest := files.sha256_of(archive)) != ARCHIVE_SHA256:
            raise DataError(f"{archive}: damaged: SHA-256 {digest}, expected {ARCHIVE_SHA256}; "
                            f"{_REMEDY}")  # fmt: skip
    except OSError as error:
        raise DataError(f"{archive}: {error.strerror}; let this user read it") from error


_REMEDY = f"remove it (and the folder {FOLDER}, if there is one) to download the archive anew"


def _verified(path: Path, name: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != MEMBER_SHA256[name]:
        raise DataError(f"{path}: {name} {_fault(content, digest)}: SHA-256 {digest}, expected "
                        f"{MEMBER_SHA256[name]}; {_REMEDY}")  # fmt: skip
    return content


def _fault(content: bytes, digest: str) -> str:
    """What is wrong with a file of another digest, as closely as its bytes tell."""
    for other, theirs in MEMBER_SHA256.items():
        if digest == theirs:
            return f"holds what {other} should: the files are swapped"
    if len(content) != _bytes_of_a_batch():
        return f"has {len(content):,} bytes, not {_bytes_of_a_batch():,}"
    record = 1 + CHANNELS * SIDE * SIDE
    for i, label in enumerate(content[::record]):
        if label >= CLASSES:
            return f"has the label {label} at byte {i * record:,}, where 0 to {CLASSES - 1} can be"
    return "is damaged"


def _bytes_of_a_batch() -> int:
    return RECORDS * (1 + CHANNELS * SIDE * SIDE)


def _parse(content: bytes) -> Split:
    """The records of one file; images as (n, 32, 32, 3)."""
    records = np.frombuffer(content, np.uint8).reshape(RECORDS, -1)
    planes = records[:, 1:].reshape(RECORDS, CHANNELS, SIDE, SIDE)
    return Split(planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int64))


def _missing(root: Path, why: str) -> str:
    where = root.resolve()
    return (
        f"CIFAR-10 is not there ({why}).\n"
        f"  looked for: {where / FOLDER}/*.bin and {where / ARCHIVE}\n"
        f"  expected:   {ARCHIVE}, {ARCHIVE_BYTES:,} bytes, SHA-256 {ARCHIVE_SHA256}\n"
        f"  get it:     curl --create-dirs -o {shlex.quote(str(where / ARCHIVE))} {MIRRORS[0]}\n"
        f"  or:         data.download=true, data.root=FOLDER; data=digits runs on built-in data"
    )
