"""A folder of images: what is counted, what is found wrong with it, and how that is said."""

import subprocess
from pathlib import Path

import pytest

from degradation.commands import data as command
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.data.image_folder import manifest
from tests.data import photographs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photographs.make(tmp_path / "set")


def test_the_manifest_counts_and_labels_by_sorted_class(root: Path) -> None:
    found = manifest.read(root)
    assert found.class_names == photographs.CLASSES
    assert found.counts == {"classes": 3, "train": 12, "val": 6, "skipped": 0}
    assert found.train.paths == tuple(sorted(found.train.paths))
    columns = found.train.paths, found.train.sizes, found.train.labels
    for path, size, label in zip(*columns, strict=True):
        assert path.split("/")[1] == photographs.CLASSES[label]
        assert (root / path).stat().st_size == size
    assert found.train.evenly(3).labels == (0, 1, 2)
    assert found.train.evenly(100) == found.train


def test_the_digest_is_of_paths_and_sizes_alone(root: Path, tmp_path: Path) -> None:
    digest = manifest.read(root).digest
    moved = root.rename(tmp_path / "elsewhere")
    (moved / "train/ants/.DS_Store").touch()
    assert manifest.read(moved).digest == digest
    file = moved / "train/ants/ants_0.JPEG"
    file.write_bytes(file.read_bytes() + b"\0")
    longer = manifest.read(moved).digest
    file.rename(file.with_name("ants_9.JPEG"))
    assert len({digest, longer, manifest.read(moved).digest}) == 3


GIF = "train/ants/imageNotFound.gif"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("mv train training", ["must have the folders train and val", "get it:"]),
        ("touch val/{0..4}.JPEG", ["5 files lie in it directly (0", "2 more", "a folder a class"]),
        ("mv val/cats val/dogs", ["train/ and val/ alone (cats, dogs)", "same folders"]),
        ("mkdir {train,val}/dogs", ["train/dogs: an empty class", "remove the folder"]),
        (": > train/bees/bees_1.JPEG", ["train/bees/bees_1.JPEG: zero bytes", "data.skip=FILE"]),
        (f"echo GIF89a > {GIF}", [f"{GIF}: .gif is no JPEG", "data.skip=FILE"]),
        ("mkdir train/ants/more.JPEG", ["train/ants/more.JPEG: no regular file"]),
    ],
)
def test_a_fault_is_named_before_anything_trains(damage: str, parts: list[str], root: Path) -> None:
    subprocess.run(["bash", "-c", damage], cwd=root, check=True)
    data = photographs.data(root)
    with pytest.raises(DataError) as refusal:
        sources.load(data)
    message = str(refusal.value)
    assert sources.missing(data) == message
    assert len(message.splitlines()) <= 6
    assert all(part in message for part in parts)


def test_a_listed_file_is_skipped_and_written_down(root: Path, tmp_path: Path) -> None:
    (root / GIF).write_bytes(b"GIF89a")
    listed = tmp_path / "skip.txt"
    listed.write_text(f"# not a photograph\n\n{GIF}\n")
    found = sources.load(photographs.data(root, skip=str(listed)))
    assert found.skipped == (GIF,)
    assert found.notes["skipped"] == 1 and found.notes["skip_list"]
    listed.write_text("train/ants/nobody.JPEG\n")
    with pytest.raises(DataError, match=r"nobody\.JPEG: not in"):
        manifest.read(root, listed)
    with pytest.raises(DataError, match=r"data\.skip=.*No such file"):
        manifest.read(root, tmp_path / "none")


def test_verify_decodes_all_and_lists_what_it_cannot(root: Path, tmp_path: Path, capsys) -> None:
    broken = [f"train/ants/ants_{i}.JPEG" for i in range(4)]
    photographs.image(1, 40, 40).save(root / "train/ants/sound.JPEG")
    for path in broken:
        (root / path).write_bytes(b"\xff\xd8\xff")
    listed = tmp_path / "skip.txt"
    with pytest.raises(DataError, match=r"4 files can't be trained on.*") as refusal:
        command.main(["verify", str(root), "--list", str(listed)])
    assert len(str(refusal.value).splitlines()) <= 7
    assert listed.read_text().splitlines() == broken
    assert command.main(["verify", str(root), "--skip", str(listed)]) == 0
    assert '"train": 9' in capsys.readouterr().out
