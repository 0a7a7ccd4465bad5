"""A folder of images, `train/CLASS/*` and `val/CLASS/*`: the list of its files, and its faults.

Nothing is opened: names and sizes tell whether it is there, sorted, complete and the same as last
time, in seconds for a million files. What lies in the files, `decode` finds out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from degradation.data.dataset import DataError
from degradation.system import files as storage
from degradation.system.console import escape_control_chars, short_repr

SUFFIXES = (".jpeg", ".jpg")
SPLITS = ("train", "val")
SHOWN = 3  # faulty files that a message names; the rest is counted


@dataclass(frozen=True)
class Files:
    """The images of one split, sorted by class folder, then by name."""

    paths: tuple[str, ...]
    """Below the root, with `/`."""
    sizes: tuple[int, ...]
    """In bytes."""
    labels: tuple[int, ...]
    """The class folder's place among all, sorted by name."""

    def __len__(self) -> int:
        return len(self.paths)


NONE = Files((), (), ())


@dataclass(frozen=True)
class Manifest:
    """What lies in the folder: enough to know it again."""

    root: Path
    classes: tuple[str, ...]
    train: Files
    val: Files
    skipped: tuple[str, ...] = ()
    """Paths left out on demand, sorted."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted paths of both splits, with their sizes."""
        sha = hashlib.sha256()
        for files in (self.train, self.val):
            for path, size in zip(files.paths, files.sizes, strict=True):
                sha.update(storage.encoded(f"{path}\t{size}"))
        return sha.hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        return {
            "classes": len(self.classes),
            "train": len(self.train),
            "val": len(self.val),
            "skipped": len(self.skipped),
        }


def read(root: Path, skip: Path | None = None) -> Manifest:
    """The manifest of the folder `root`, less what the file `skip` lists. Raises DataError."""
    if said := missing(root):
        raise DataError(said)
    left_out = _skip_list(skip) if skip else frozenset[str]()
    classes = {split: _classes(root / split) for split in SPLITS}
    _check_same(root, classes)
    found = {split: _files(root, split, classes[split], left_out) for split in SPLITS}
    seen = {path for _, skipped in found.values() for path in skipped}
    if unknown := sorted(left_out - seen):
        raise DataError(f"{skip}: {_some(unknown)}: not in {root}; list paths below it, as "
                        f"{SPLITS[0]}/CLASS/NAME, or remove the line")  # fmt: skip
    _check_files(root, [files for files, _ in found.values()])
    return Manifest(root, classes["train"], found["train"][0], found["val"][0],
                    tuple(sorted(seen)))  # fmt: skip


def missing(root: Path) -> str:
    """Why `root` can't be read, where that is plain to see; else ""."""
    if not (lacking := [split for split in SPLITS if not (root / split).is_dir()]):
        return ""
    where = root.resolve()
    return escape_control_chars(
        f"ImageNet is not there: no folder {' and no folder '.join(lacking)} in {where}.\n"
        f"  expected:   {where}/train/CLASS/*.JPEG and {where}/val/CLASS/*.JPEG\n"
        "  get it:     ILSVRC2012_img_train.tar and _val.tar from https://image-net.org (account),"
        "\n              unpacked into a folder a class, validation images too\n"
        "  or:         data.root=FOLDER; data=cifar10 downloads itself, data=digits is built in"
    )


def _skip_list(file: Path) -> frozenset[str]:
    try:
        lines = storage.read(file).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"data.skip={file}: {why}; give a file of paths, one a line") from error
    return frozenset(line.strip() for line in lines if line.strip() and line[:1] != "#")


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, sorted by name; hidden files are nobody's images."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if e.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; let this user read it") from error


def _classes(split: Path) -> tuple[str, ...]:
    """The class folders of a split; a image beside them is in no class."""
    entries = _entries(split)
    if loose := [entry.name for entry in entries if not entry.is_dir()]:
        raise DataError(f"{split}: {len(loose):,} files lie in it directly ({_some(loose)}); sort "
                        f"them into a folder a class: {split.name}/CLASS/NAME")  # fmt: skip
    return tuple(entry.name for entry in entries)


def _check_same(root: Path, classes: dict[str, tuple[str, ...]]) -> None:
    train, val = (set(classes[split]) for split in SPLITS)
    if not train:
        raise DataError(f"{root / 'train'}: no class folder in it; fill it: train/CLASS/NAME.JPEG")
    for here, there, lacking in (("train", "val", train - val), ("val", "train", val - train)):
        if lacking:
            raise DataError(
                f"{root}: {len(lacking)} classes of {here}/ are not in {there}/ "
                f"({_some(sorted(lacking))}); both must have the same folders, or labels would "
                "mean different things"
            )


def _files(
    root: Path, split: str, classes: tuple[str, ...], left_out: frozenset[str]
) -> tuple[Files, list[str]]:
    """A split's images, and what was left out of it."""
    paths, sizes, labels, skipped = list[str](), list[int](), list[int](), list[str]()
    for label, name in enumerate(classes):
        before = len(paths)
        for path, size in _images(root, f"{split}/{name}"):
            if path in left_out:
                skipped.append(path)
                continue
            paths.append(path)
            sizes.append(size)
            labels.append(label)
        if len(paths) == before:
            raise DataError(f"{root / split / name}: an empty class; put its images there, or "
                            f"remove the folder from {' and '.join(SPLITS)} alike")  # fmt: skip
    return Files(tuple(paths), tuple(sizes), tuple(labels)), skipped


def _images(root: Path, below: str) -> Iterator[tuple[str, int]]:
    for entry in _entries(root / below):
        try:
            size = entry.stat().st_size if entry.is_file() else -1
        except OSError as error:
            raise DataError(f"{entry.path}: {error.strerror}; let this user read it") from error
        yield f"{below}/{entry.name}", size


def _check_files(root: Path, splits: list[Files]) -> None:
    """What names and sizes tell. Raises DataError with the first few, and the count by kind."""
    faults = [
        (path, fault)
        for files in splits
        for path, size in zip(files.paths, files.sizes, strict=True)
        if (fault := _fault(path, size))
    ]
    if faults:
        raise faulty(root, faults)


def _fault(path: str, size: int) -> str:
    if size < 0:
        return "no regular file"
    if size == 0:
        return "zero bytes"
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122  a million of them
    return "" if suffix in SUFFIXES else f"{short_repr(suffix or 'no suffix')} is no JPEG"


def faulty(root: Path, faults: list[tuple[str, str]]) -> DataError:
    """The error that names files by path and fault, at most six lines of it."""
    kinds = ", ".join(f"{n} × {kind}" for kind, n in Counter(f for _, f in faults).most_common(3))
    named = "".join(f"\n  {path}: {fault}" for path, fault in faults[:SHOWN])
    return DataError(escape_control_chars(
        f"{root}: {len(faults)} files can't be trained on ({kinds})" + named +
        "\nrestore them; or list their paths in a file, one a line, and say data.skip=FILE"
    ))  # fmt: skip


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return escape_control_chars(", ".join(map(short_repr, names[:SHOWN])) + (f", and {more:,} more" if more > 0 else ""))
