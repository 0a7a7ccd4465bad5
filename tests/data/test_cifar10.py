"""CIFAR-10 from its folder or its archive: every byte verified, nothing ever extracted.

Small files of the genuine format stand in for it. The genuine ones are read where the environment
variable DEGRADATION_CIFAR10 names the folder that holds them.
"""

import gzip
import hashlib
import os
import random
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from degradation.config import schema
from degradation.data import cifar10, sources
from degradation.data.dataset import DataError, ImageDataset
from tests.reliability.small_cifar import NAMES, RECORDS, Member, content_of, member


@pytest.fixture(autouse=True)
def _small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "genuine" not in request.fixturenames:
        pin({name: content_of(name) for name in NAMES}, monkeypatch)
        # The archive's own digest, which comes first: what lies behind it must hold without it.
        monkeypatch.setattr(cifar10, "_check_archive", lambda _: None)


def pin(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the module expect these files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "MEMBER_SHA256", digests)


def settings(root: Path, held_out: int = 0, download: bool = False) -> schema.Data:
    return schema.Data("cifar10", held_out, 4, True, str(root), download)


def load(root: Path, held_out: int = 0) -> ImageDataset:
    return sources.load(settings(root, held_out))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(root)
    return str(caught.value)


def write_folder(root: Path) -> Path:
    folder = root / cifar10.FOLDER
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(content_of(name))
    return folder


def genuine_members(prefix: str = f"{cifar10.FOLDER}/") -> list[Member]:
    return [member(prefix + name, content_of(name)) for name in NAMES]


def write_archive(root: Path, members: Iterable[Member]) -> Path:
    """An archive of these members, whatever they claim."""
    blocks = (
        entry.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)
        for entry, content in members
    )
    path = root / cifar10.ARCHIVE
    path.write_bytes(gzip.compress(b"".join(blocks) + bytes(1024), mtime=0))
    return path


# What is read


def test_folder_and_archive_hold_the_same(tmp_path: Path) -> None:
    folder, archive = tmp_path / "a", tmp_path / "b"
    write_folder(folder)
    archive.mkdir()
    write_archive(archive, genuine_members())
    assert load(folder).digest == load(archive).digest


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_shapes_labels_and_order(tmp_path: Path, source: str) -> None:
    if source == "folder":
        write_folder(tmp_path)
    else:
        write_archive(tmp_path, reversed(genuine_members()))
    found = load(tmp_path)
    assert (len(found.train), len(found.held_out), len(found.test)) == (20, 0, 4)
    assert (found.classes, found.white) == (10, 255)
    assert found.train.images.shape == (20, 32, 32, 3)
    assert found.train.images.dtype == np.uint8
    assert found.train.labels.dtype == np.int64
    assert found.train.labels.tolist() == [0, 1, 2, 3] * 5
    raw = np.frombuffer(b"".join(map(content_of, NAMES)), np.uint8).reshape(24, 3073)
    both = np.concatenate([found.train.images, found.test.images])
    for i, y, x, channel in [(0, 0, 0, 0), (0, 0, 1, 0), (5, 31, 0, 2), (23, 7, 30, 1)]:
        assert both[i, y, x, channel] == raw[i, 1 + 1024 * channel + 32 * y + x]


def test_the_first_plane_is_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    red = (bytes([7]) + b"\xff" * 1024 + bytes(2048)) * RECORDS
    folder = write_folder(tmp_path)
    for name in NAMES:
        (folder / name).write_bytes(red)
    pin(dict.fromkeys(NAMES, red), monkeypatch)
    found = load(tmp_path)
    for split in (found.train, found.test):
        assert (split.images == [255, 0, 0]).all()
        assert (split.labels == 7).all()


def test_held_out_are_the_last(tmp_path: Path) -> None:
    write_folder(tmp_path)
    everything, found = load(tmp_path), load(tmp_path, held_out=5)
    assert (len(found.train), len(found.held_out), len(found.test)) == (15, 5, 4)
    assert np.array_equal(found.train.images, everything.train.images[:15])
    assert np.array_equal(found.held_out.images, everything.train.images[15:])
    assert found.held_out.labels.tolist() == [3, 0, 1, 2, 3]


def test_holding_all_out_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(DataError, match=r"^data\.held_out=20: must be below 20"):
        load(tmp_path, held_out=20)


def test_the_folder_is_taken_before_the_archive(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / cifar10.ARCHIVE).write_bytes(b"not an archive")
    assert len(load(tmp_path).train) == 20


def test_root_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "images")
    assert len(load(Path("~/images")).train) == 20


# Damaged or incomplete


def test_a_damaged_file_is_named_with_both_digests(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    damaged = content_of(NAMES[2])[:-1] + b"?"
    (folder / NAMES[2]).write_bytes(damaged)
    text = refusal(tmp_path)
    assert text.startswith(f"{folder / NAMES[2]}: {NAMES[2]} is damaged")
    assert f"SHA-256 {hashlib.sha256(damaged).hexdigest()}, expected" in text
    assert cifar10.MEMBER_SHA256[NAMES[2]] in text


@pytest.mark.parametrize("content", [b"", content_of(NAMES[0])[:-1], content_of(NAMES[0]) + b"?"])
def test_a_file_of_another_size_is_damaged(tmp_path: Path, content: bytes) -> None:
    (write_folder(tmp_path) / NAMES[0]).write_bytes(content)
    assert f"{NAMES[0]} has {len(content):,} bytes, not 12,292: SHA-256" in refusal(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "test_batch.bin").unlink()
    text = refusal(tmp_path)
    assert text.startswith(f"{folder / 'test_batch.bin'}: No such file or directory")
    assert ", ".join(NAMES) in text


def test_a_damaged_member_is_named_with_both_digests(tmp_path: Path) -> None:
    damaged = content_of(NAMES[1])[:-1] + b"?"
    members = genuine_members()
    members[1] = member(f"{cifar10.FOLDER}/{NAMES[1]}", damaged)
    path = write_archive(tmp_path, members)
    text = refusal(tmp_path)
    assert text.startswith(f"{path}: {NAMES[1]} is damaged")
    assert f"SHA-256 {hashlib.sha256(damaged).hexdigest()}, expected" in text
    assert cifar10.MEMBER_SHA256[NAMES[1]] in text


def test_missing_members_are_named(tmp_path: Path) -> None:
    path = write_archive(tmp_path, genuine_members()[2:])
    assert refusal(tmp_path).startswith(f"{path}: {NAMES[0]}, {NAMES[1]} missing in it; remove")


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path, genuine_members())
    whole = path.read_bytes()
    for size in [0, 1, 9, 10, 100, *range(1000, len(whole) - 100, 6007)]:
        path.write_bytes(whole[:size])
        assert refusal(tmp_path).startswith(f"{path}: "), size


@pytest.mark.parametrize(
    "content",
    [b"<html>not here</html>", gzip.compress(b"no tar"), bytes(1024), gzip.compress(bytes(1024))],
    ids=["page", "gzip of text", "zeros", "gzip of zeros"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / cifar10.ARCHIVE).write_bytes(content)
    assert str(tmp_path / cifar10.ARCHIVE) in refusal(tmp_path)


def test_an_archive_with_flipped_bits_is_refused_or_read_right(tmp_path: Path) -> None:
    path = write_archive(tmp_path, genuine_members())
    whole, wanted, draw = path.read_bytes(), load(tmp_path).digest, random.Random(0)
    refused = 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            assert load(tmp_path).digest == wanted
        except DataError:
            refused += 1
    assert refused > 50


# Hostile


def with_huge_name(size: int) -> Member:
    return member("././@LongLink", bytes(512), size=size, type=tarfile.GNUTYPE_LONGNAME)


def with_pax(**records: str) -> Member:
    """An extended header of these records."""
    lines = b""
    for key, value in records.items():
        line = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(line) + 2 if len(line) < 98 else len(line) + 3
        lines += str(length).encode() + line
    return member("pax", lines, type=tarfile.XHDTYPE)


NO_FILES = tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE
EVIL = "written outside"
HOSTILE: dict[str, list[Member]] = {
    "parent": [member(f"../{EVIL}", b"x"), member(f"{cifar10.FOLDER}/../../{EVIL}", b"x")],
    "absolute": [member(f"/tmp/{EVIL}", b"x")],
    "links": [
        member(EVIL, type=tarfile.SYMTYPE, linkname="/etc"),
        member(f"{EVIL}/passwd", b"x"),
        member("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    ],
    "devices": [
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("disk", type=tarfile.BLKTYPE, devmajor=8),
        member("pipe", type=tarfile.FIFOTYPE),
    ],
    "same names of no file": [
        member(f"{cifar10.FOLDER}/{name}", type=kind, linkname="/dev/zero", size=RECORDS * 3073)
        for name, kind in zip(NAMES, NO_FILES, strict=False)
    ],
    "same name of another size": [member(f"{cifar10.FOLDER}/{NAMES[0]}", b"x" * 100)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_hostile_is_read_or_written(tmp_path: Path, members: list[Member]) -> None:
    root = tmp_path / "a" / "b"
    root.mkdir(parents=True)
    write_archive(root, [*members, *genuine_members()])
    before = sorted(tmp_path.rglob("*"))
    assert load(root).train.labels.tolist() == [0, 1, 2, 3] * 5
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path(f"/tmp/{EVIL}").exists()


def test_links_do_not_stand_in_for_members(tmp_path: Path) -> None:
    first = member(f"{cifar10.FOLDER}/{NAMES[0]}", type=tarfile.LNKTYPE, linkname="other")
    other = member("other", content_of(NAMES[0]))
    write_archive(tmp_path, [other, first, *genuine_members()[1:]])
    assert f"{NAMES[0]} missing in it" in refusal(tmp_path)


SIZES = [2**20, 2**33, 2**60]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [f"{cifar10.FOLDER}/{NAMES[0]}", "other"])
def test_a_member_that_claims_a_huge_size_is_refused(tmp_path: Path, name: str, size: int) -> None:
    write_archive(tmp_path, [member(name, b"x" * 512, size=size), *genuine_members()])
    assert "damaged" in refusal(tmp_path)


PAX = {
    "sparse map": {"GNU__sparse__map": "a,b"},
    "sparse size": {"GNU__sparse__size": "x"},
    "sparse 1.0": {"GNU__sparse__major": "1", "GNU__sparse__minor": "0"},
    "size": {"size": "-5"},
}


@pytest.mark.parametrize(
    "members",
    [*([with_huge_name(size)] for size in SIZES), *([with_pax(**pax)] for pax in PAX.values())],
    ids=[*(f"name of {size}" for size in SIZES), *PAX],
)
def test_whatever_tarfile_raises_is_told_as_damage(tmp_path: Path, members: list[Member]) -> None:
    members = [*members, member("x", b"garbage\n" * 64)]
    assert refusal(write_archive(tmp_path, members).parent).endswith(cifar10._REMEDY)


# Missing


def test_missing_data_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    text = refusal(tmp_path / "none")
    assert "data.download=false" in text
    for part in (
        f"{tmp_path / 'none' / cifar10.FOLDER}/*.bin",
        str(tmp_path / "none" / cifar10.ARCHIVE),
        "170,052,171 bytes",
        cifar10.ARCHIVE_SHA256,
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "data.root=",
        "data=digits",
    ):
        assert part in text
    assert not (tmp_path / "none").exists()


def test_missing_data_is_downloaded_and_then_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(urls: object, target: Path, size: int, sha256: str) -> None:
        assert (urls, size, sha256) == (
            cifar10.MIRRORS, cifar10.ARCHIVE_BYTES, cifar10.ARCHIVE_SHA256,
        )  # fmt: skip
        assert target == tmp_path / cifar10.ARCHIVE
        write_archive(tmp_path, genuine_members())

    monkeypatch.setattr(cifar10, "download", download)
    assert len(sources.load(settings(tmp_path, download=True)).train) == 20


def test_a_failed_download_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object) -> None:
        raise DataError("no mirror delivered it")

    monkeypatch.setattr(cifar10, "download", download)
    with pytest.raises(DataError, match=re.escape("(no mirror delivered it)")) as caught:
        sources.load(settings(tmp_path, download=True))
    assert "data=digits" in str(caught.value)


# The genuine files


@pytest.fixture(scope="session")
def genuine() -> ImageDataset:
    root = os.environ.get("DEGRADATION_CIFAR10")
    if not root:
        pytest.skip("DEGRADATION_CIFAR10 names no folder with the genuine CIFAR-10")
    return load(Path(root))


def test_the_genuine_images(genuine: ImageDataset) -> None:
    assert (len(genuine.train), len(genuine.test)) == (50_000, 10_000)
    assert np.bincount(genuine.train.labels).tolist() == [5000] * 10
    assert np.bincount(genuine.test.labels).tolist() == [1000] * 10
    mean = genuine.mean.mean(axis=(0, 1)) * 255
    np.testing.assert_allclose(mean, (125.3, 123.0, 113.9), atol=0.06)
