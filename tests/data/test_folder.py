"""A folder of images: what is counted, what is found wrong with it, and how it is said."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from degradation.data.dataset import DataError
from degradation.data.image_folder import (
    decode,
    imagenet,
    prepare,
)
from degradation.data.image_folder import (
    manifest as folder,
)
from tests.data import photographs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photographs.make(tmp_path / "set")


def test_the_manifest_counts_and_labels_by_sorted_class(root: Path) -> None:
    found = folder.read(root)
    assert found.classes == photographs.CLASSES
    assert found.counts == {"classes": 3, "train": 12, "val": 6, "skipped": 0}
    assert found.train.paths == tuple(sorted(found.train.paths))
    for path, size, label in zip(*vars(found.train).values(), strict=True):
        assert path.split("/")[1] == photographs.CLASSES[label]
        assert (root / path).stat().st_size == size


def test_the_digest_is_of_paths_and_sizes_alone(root: Path, tmp_path: Path) -> None:
    digest = folder.read(root).digest
    moved = root.rename(tmp_path / "elsewhere")
    (moved / "train/ants/.DS_Store").touch()
    assert folder.read(moved).digest == digest
    file = moved / "train/ants/ants_0.JPEG"
    file.write_bytes(file.read_bytes() + b"\0")
    longer = folder.read(moved).digest
    file.rename(file.with_name("ants_9.JPEG"))
    assert len({digest, longer, folder.read(moved).digest}) == 3


def unsorted(root: Path) -> None:
    for i in range(5):
        photographs.image(i, 40, 40).save(root / f"val/ILSVRC2012_val_0000000{i}.JPEG")


def other_classes(root: Path) -> None:
    (root / "val/cats").rename(root / "val/dogs")


def empty_class(root: Path) -> None:
    for split in folder.SPLITS:
        (root / split / "dogs").mkdir()


def no_train(root: Path) -> None:
    (root / "train").rename(root / "training")


def zero_bytes(root: Path) -> None:
    os.truncate(root / "train/bees/bees_1.JPEG", 0)


def gif(root: Path) -> None:
    photographs.image(1, 40, 40).save(root / "train/ants/imageNotFound.gif")


def text(root: Path) -> None:
    (root / "train/ants/list.txt").write_text("ants")


def gif_as_jpeg(root: Path) -> None:
    photographs.image(1, 40, 40).save(root / "val/ants/ants_1.JPEG", "GIF")


def truncated(root: Path) -> None:
    file = root / "train/cats/cats_3.JPEG"
    os.truncate(file, file.stat().st_size // 2)


def palette(root: Path) -> None:
    photographs.image(1, 40, 40).quantize(16).save(root / "train/ants/ants_0.JPEG", "PNG")


def animated(root: Path) -> None:
    frames = [photographs.image(i, 40, 40) for i in range(2)]
    file = root / "train/ants/ants_0.JPEG"
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])


def web_page(root: Path) -> None:
    (root / "train/ants/ants_0.JPEG").write_text("<html>404</html>")


def forbidden(root: Path) -> None:
    (root / "val/bees").chmod(0)


def a_folder_in_a_class(root: Path) -> None:
    (root / "train/ants/more.JPEG").mkdir()


FAULTS = {
    no_train: ["no folder train in", "get it:"],
    unsorted: ["val: 5 files lie in it directly (ILSVRC2012_val_00000000.JPEG", "and 2 more",
               "sort them into a folder a class"],
    other_classes: ["1 classes of train/ are not in val/ (cats)", "same folders"],
    empty_class: ["train/dogs: an empty class", "remove the folder"],
    zero_bytes: ["train/bees/bees_1.JPEG: zero bytes", "data.skip=FILE"],
    gif: ["train/ants/imageNotFound.gif: .gif is no JPEG", "data.skip=FILE"],
    text: ["train/ants/list.txt: .txt is no JPEG"],
    gif_as_jpeg: ["val/ants/ants_1.JPEG: no JPEG or PNG (a GIF)", "data.skip=FILE"],
    truncated: ["train/cats/cats_3.JPEG: ", "truncated", "data.skip=FILE"],
    palette: ["train/ants/ants_0.JPEG: a palette"],
    animated: ["train/ants/ants_0.JPEG: an animation"],
    web_page: ["train/ants/ants_0.JPEG: no JPEG or PNG (a web page)"],
    forbidden: ["val/bees: Permission denied", "let this user read it"],
    a_folder_in_a_class: ["train/ants/more.JPEG: no regular file"],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_named_before_the_first_step(fault, root: Path) -> None:
    if fault is forbidden and os.geteuid() == 0:
        pytest.skip("root may read everything")
    fault(root)
    with pytest.raises(DataError) as refusal:
        imagenet.load(photographs.data(root))
    said = str(refusal.value)
    assert len(said.splitlines()) <= 6
    for part in FAULTS[fault]:
        assert part.lower() in said.lower()


def test_grey_cmyk_and_a_png_under_a_jpegs_name_are_images(root: Path) -> None:
    whole = photographs.image(5, 60, 44)
    kinds = {"ants_0": ("L", "JPEG"), "ants_1": ("CMYK", "JPEG"), "ants_2": ("RGB", "PNG")}
    for name, (mode, form) in kinds.items():
        whole.convert(mode).save(root / f"train/ants/{name}.JPEG", form)
    assert len(imagenet.load(photographs.data(root)).train) == 12
    views = [decode.centre_view(root / f"train/ants/{name}.JPEG", 32, 36) for name in kinds]
    assert [view.shape for view in views] == [(32, 32, 3)] * 3
    assert (views[0][..., 0] == views[0][..., 2]).all()
    assert abs(views[1].astype(int) - views[2]).mean() < 8  # CMYK through JPEG


def test_a_listed_file_is_skipped_and_written_down(root: Path, tmp_path: Path) -> None:
    gif(root)
    with pytest.raises(DataError):
        folder.read(root)
    listed = tmp_path / "skip.txt"
    listed.write_text("# not a photograph\n\ntrain/ants/imageNotFound.gif\n")
    found = imagenet.load(photographs.data(root, skip=str(listed)))
    assert found.manifest.skipped == ("train/ants/imageNotFound.gif",)
    assert found.notes["skipped"] == 1 and found.notes["skip_list"]
    listed.write_text("train/ants/nobody.JPEG\n")
    with pytest.raises(DataError, match=r"nobody\.JPEG: not in"):
        folder.read(root, listed)
    with pytest.raises(DataError, match=r"data\.skip=.*No such file"):
        folder.read(root, tmp_path / "none")


def test_verify_lists_all_and_is_remembered(root: Path, monkeypatch, capsys) -> None:
    for name in ("ants_0", "ants_1", "ants_2", "ants_3"):
        (root / f"train/ants/{name}.JPEG").write_bytes(b"\xff\xd8\xff")
    photographs.image(1, 40, 40).save(root / "train/ants/sound.JPEG")
    assert imagenet.main(["verify", str(root)]) == 3
    said = capsys.readouterr().err
    assert "4 files can't be trained on" in said and len(said.splitlines()) <= 6
    listed = root / prepare.LISTED
    assert len(listed.read_text().splitlines()) == 4
    assert imagenet.main(["verify", str(root), "--skip", str(listed)]) == 0
    manifest = folder.read(root, listed)
    assert prepare.verified(manifest) and not prepare.verified(
        folder.Manifest(root, manifest.classes, manifest.val, manifest.val)
    )
    monkeypatch.setattr(decode, "check", lambda path: pytest.fail("decoded again"))
    assert imagenet.load(photographs.data(root, skip=str(listed))).verified


def test_a_large_set_is_not_decoded_at_the_start(root: Path, monkeypatch, caplog) -> None:
    truncated(root)
    monkeypatch.setattr(imagenet, "VERIFIED_AT_START", 17)
    monkeypatch.setattr("degradation.data.image_folder.pca_lighting.SAMPLE", 2)
    assert not imagenet.load(photographs.data(root)).verified
    assert "imagenet verify" in caplog.text


def test_smaller_copies_are_another_data_set(root: Path, tmp_path: Path, capsys) -> None:
    target = tmp_path / "small"
    assert imagenet.main(["prepare", str(root), str(target), "--side", "48"]) == 0
    result = json.loads(capsys.readouterr().out)
    source, made = folder.read(root), folder.read(target)
    assert (result["side"], result["quality"], result["source"]) == (48, 95, source.digest)
    assert made.digest != source.digest and made.counts == source.counts
    smaller = 0
    for path in (*made.train.paths, *made.val.paths):
        with Image.open(root / path) as before, Image.open(target / path) as after:
            assert min(after.size) == min(48, *before.size)
            smaller += before.size != after.size
        if min(before.size) <= 48:
            assert (root / path).read_bytes() == (target / path).read_bytes()
    assert result["smaller"] == smaller > 0
    assert imagenet.load(photographs.data(target)).notes["prepared"] == result


def test_preparing_goes_on_where_it_was_cut(root: Path, tmp_path: Path, monkeypatch) -> None:
    target, manifest = tmp_path / "small", folder.read(root)
    prepare.prepare(manifest, target, 48, 95)
    whole = {path: (target / path).read_bytes() for path in manifest.train.paths}
    (target / prepare.ORIGIN).unlink()
    (target / manifest.train.paths[3]).unlink()
    kept = (target / manifest.train.paths[2]).stat().st_mtime_ns
    prepare.prepare(manifest, target, 48, 95)
    assert {path: (target / path).read_bytes() for path in manifest.train.paths} == whole
    assert (target / manifest.train.paths[2]).stat().st_mtime_ns == kept
    with pytest.raises(DataError, match="copies made in another way"):
        prepare.prepare(manifest, target, 50, 95)
