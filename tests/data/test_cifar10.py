"""CIFAR-10 from its archive: every byte verified.

Small files of the genuine format stand in for it. The genuine ones are read where the environment
variable DEGRADATION_CIFAR10 names the folder that holds them.
"""

import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest

from degradation.config.schema import Data
from degradation.data import cifar10, sources
from degradation.data.dataset import DataError, ImageDataset

NAMES = cifar10.FILES


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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data.root with an archive of small files, which is expected in place of the genuine one."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in NAMES:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content_of(name))
            tar.addfile(member, io.BytesIO(content_of(name)))
    monkeypatch.setattr(cifar10, "ARCHIVE_SHA256", hashlib.sha256(content.getvalue()).hexdigest())
    (tmp_path / cifar10.ARCHIVE).write_bytes(content.getvalue())
    return tmp_path


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


def test_validation_images_are_the_last_of_training(folder: Path) -> None:
    everything, found = load(folder), load(folder, val_size=5)
    assert np.array_equal(found.train.images, everything.train.images[:15])
    assert np.array_equal(found.validation.images, everything.train.images[15:])
    assert found.validation.labels.tolist() == [3, 0, 1, 2, 3]
    with pytest.raises(DataError, match=r"^data\.val_size=20: must be below 20"):
        load(folder, val_size=20)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_archive_is_never_opened(
    folder: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / cifar10.ARCHIVE
    file.write_bytes(file.read_bytes()[:size])
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("opened"))
    message = refusal(folder)
    assert message.startswith(f"{file}: damaged") and message.endswith(cifar10.REMEDY)


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none")
    for part in (
        str(tmp_path / "none" / cifar10.ARCHIVE),
        cifar10.ARCHIVE_SHA256,
        "data.download=false",
        "data.root=",
        "data=digits",
    ):
        assert part in message
    assert sources.missing(Data("cifar10", 0, 4, True, str(tmp_path / "none"), False)) == message
    assert not (tmp_path / "none").exists()


def test_missing_data_is_downloaded_and_then_read(folder: Path, monkeypatch) -> None:
    def download(urls: object, target: Path, sha256: str) -> None:
        assert (urls, sha256) == (cifar10.MIRRORS, cifar10.ARCHIVE_SHA256)
        target.parent.mkdir()
        target.write_bytes((folder / cifar10.ARCHIVE).read_bytes())

    monkeypatch.setattr(cifar10, "download", download)
    assert len(load(folder / "new", may_download=True).train) == 20


def test_the_genuine_images() -> None:
    root = os.environ.get("DEGRADATION_CIFAR10")
    if not root:
        pytest.skip("DEGRADATION_CIFAR10 names no folder with the genuine CIFAR-10")
    found = load(Path(root))
    assert np.bincount(found.train.labels).tolist() == [5000] * 10
    assert np.bincount(found.test.labels).tolist() == [1000] * 10
    mean = found.mean.mean(axis=(0, 1)) * 255
    np.testing.assert_allclose(mean, (125.3, 123.0, 113.9), atol=0.06)
