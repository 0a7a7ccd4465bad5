"""CIFAR-10 from its folder or its archive: every byte verified.

Small files of the genuine format stand in for it. The genuine ones are read where the environment
variable DEGRADATION_CIFAR10 names the folder that holds them.
"""

import hashlib
import os
import random
import shutil
import tarfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from degradation.config.schema import Data
from degradation.data import cifar10, sources
from degradation.data.dataset import DataError, ImageDataset

NAMES = list(cifar10.FILE_SHA256)


def content_of(name: str) -> bytes:
    """Four records of noise, labelled 0 to 3."""
    draw = random.Random(name)
    return b"".join(bytes([label]) + draw.randbytes(3072) for label in range(4))


def load(root: Path, val_size: int = 0, may_download: bool = False) -> ImageDataset:
    return sources.load(Data("cifar10", val_size, 4, True, str(root), may_download))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """data.root with the small files, which are expected in place of the genuine ones."""
    (tmp_path / cifar10.FOLDER).mkdir()
    digests = {name: hashlib.sha256(content_of(name)).hexdigest() for name in NAMES}
    monkeypatch.setattr(cifar10, "FILE_SHA256", digests)
    for name in NAMES:
        (tmp_path / cifar10.FOLDER / name).write_bytes(content_of(name))
    return tmp_path


@pytest.fixture
def archive(folder: Path, tmp_path: Path, monkeypatch) -> Path:
    """The archive of those files, in a data.root of its own."""
    made = tmp_path / "archived" / cifar10.ARCHIVE
    made.parent.mkdir()
    with tarfile.open(made, "w:gz") as tar:
        tar.add(folder / cifar10.FOLDER, cifar10.FOLDER)
    monkeypatch.setattr(cifar10, "ARCHIVE_SHA256", hashlib.sha256(made.read_bytes()).hexdigest())
    return made


def test_shapes_labels_and_pixels(folder: Path) -> None:
    found = load(folder)
    assert (len(found.train), len(found.validation), len(found.test)) == (20, 0, 4)
    assert (found.classes, found.max_value) == (10, 255)
    assert found.train.images.shape == (20, 32, 32, 3) and found.train.images.dtype == np.uint8
    assert found.train.labels.tolist() == [0, 1, 2, 3] * 5
    raw = np.frombuffer(b"".join(map(content_of, NAMES)), np.uint8).reshape(24, 3073)
    both = np.concatenate([found.train.images, found.test.images])
    for i, y, x, channel in [(0, 0, 0, 0), (0, 0, 1, 0), (5, 31, 0, 2), (23, 7, 30, 1)]:
        assert both[i, y, x, channel] == raw[i, 1 + 1024 * channel + 32 * y + x]


def test_folder_and_archive_hold_the_same(folder: Path, archive: Path) -> None:
    assert load(folder).digest == load(archive.parent).digest


def test_validation_images_are_the_last_of_training(folder: Path) -> None:
    everything, found = load(folder), load(folder, val_size=5)
    assert np.array_equal(found.train.images, everything.train.images[:15])
    assert np.array_equal(found.validation.images, everything.train.images[15:])
    assert found.validation.labels.tolist() == [3, 0, 1, 2, 3]


def test_root_may_lie_in_the_home_folder(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(load(Path("~") / folder.name).train) == 20


@pytest.mark.parametrize(
    "content", [b"", content_of(NAMES[2])[:-1], content_of(NAMES[2])[:-1] + b"?", b"<html>", None]
)
def test_a_damaged_file_is_named_with_the_remedy(folder: Path, content: bytes | None) -> None:
    file = folder / cifar10.FOLDER / NAMES[2]
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{file}: ") and message.endswith(cifar10.REMEDY)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_archive_is_never_opened(archive: Path, size: int, monkeypatch) -> None:
    archive.write_bytes(archive.read_bytes()[:size])
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    message = refusal(archive.parent)
    assert message.startswith(f"{archive}: damaged") and message.endswith(cifar10.REMEDY)


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "none"
    message = refusal(root)
    parts = [str(root / cifar10.ARCHIVE), cifar10.ARCHIVE_SHA256, "data.download=false"]
    assert all(part in message for part in [*parts, "data.root=", "data=digits"])
    assert sources.missing(Data("cifar10", 0, 4, True, str(root), False)) == message
    assert not root.exists()


def test_missing_data_is_downloaded_and_then_read(archive: Path, tmp_path: Path, monkeypatch):
    def download(urls: object, target: Path, sha256: str) -> None:
        assert (urls, sha256) == (cifar10.MIRRORS, cifar10.ARCHIVE_SHA256)
        target.parent.mkdir()
        shutil.copy(archive, target)

    monkeypatch.setattr(cifar10, "download", download)
    assert len(load(tmp_path / "new", may_download=True).train) == 20
    monkeypatch.setattr(cifar10, "download", Mock(side_effect=DataError("no mirror has it")))
    with pytest.raises(DataError, match=r"\(no mirror has it\)[\s\S]*data=digits"):
        load(tmp_path / "other", may_download=True)


def test_the_genuine_images() -> None:
    root = os.environ.get("DEGRADATION_CIFAR10")
    if not root:
        pytest.skip("DEGRADATION_CIFAR10 names no folder with the genuine CIFAR-10")
    found = load(Path(root))
    assert np.bincount(found.train.labels).tolist() == [5000] * 10
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    mean = found.mean.mean(axis=(0, 1)) * 255
    np.testing.assert_allclose(mean, (125.3, 123.0, 113.9), atol=0.06)
