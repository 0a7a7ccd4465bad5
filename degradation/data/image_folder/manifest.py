"""The images in a folder, `train/CLASS/*` and `val/CLASS/*`, listed and checked by names and sizes.

No file is opened: a million of them take seconds. What lies in the files, decode.py finds out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from degradation.data.dataset import DataError
from degradation.system import files
from degradation.system.console import escape_control_chars, short_repr

SUFFIXES = (".jpeg", ".jpg")
SPLITS = ("train", "val")
TRAIN_EVAL_IMAGES = 50_000
"""Training images whose error is measured in eval mode: as many as ImageNet's test set has."""
SHOWN = 3
"""Names that a message lists; the others are counted."""


@dataclass(frozen=True)
class Files:
    """The images of one split, sorted by class folder, then by name."""

    paths: tuple[str, ...]
    """Relative to the root, with `/`."""
    sizes: tuple[int, ...]
    """In bytes."""
    labels: tuple[int, ...]
    """The position of the class folder among all, sorted by name."""

    def __len__(self) -> int:
        return len(self.paths)

    def evenly(self, most: int) -> "Files":
        """All of them, or `most` at equal distances in the list."""
        count = min(len(self), most)
        places = [i * len(self) // count for i in range(count)]
        return Files.of([(self.paths[i], self.sizes[i], self.labels[i]) for i in places])

    @classmethod
    def of(cls, images: list[tuple[str, int, int]]) -> "Files":
        """Of the path, size and label of each image."""
        return cls(*(tuple(image[i] for image in images) for i in range(3)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ImageFolder:
    """The data set: where its images are."""

    root: Path
    class_names: tuple[str, ...]
    train: Files
    test: Files
    """Those in val/."""
    skipped: tuple[str, ...]
    """Paths left out because data.skip lists them, sorted."""
    channels = 3

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def train_eval(self) -> Files:
        """The training images for the training error in eval mode, evenly from all classes."""
        return self.train.evenly(TRAIN_EVAL_IMAGES)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted paths of both splits, with their sizes."""
        sha = hashlib.sha256()
        for split in (self.train, self.test):
            for path, size in zip(split.paths, split.sizes, strict=True):
                sha.update(files.encode_line(f"{path}\t{size}"))
        return sha.hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        skipped = len(self.skipped)
        splits = {"train": len(self.train), "val": len(self.test)}
        return {"classes": self.classes, **splits, "skipped": skipped}

    @property
    def notes(self) -> dict[str, object]:
        """What a run writes down of its data, beside the digests."""
        skipped = "\n".join(self.skipped)
        digest = hashlib.sha256(files.encode_line(skipped)).hexdigest() if skipped else None
        return {**self.counts, "manifest": self.digest, "skip_list": digest}


def read(root: Path, skip: Path | None = None) -> ImageFolder:
    """The images in the folder `root`, without what the file `skip` lists. Raises DataError."""
    _check_there(root)
    classes = _classes(root)
    skipped = _skip_list(skip) if skip else set[str]()
    unused, faults = set(skipped), list[tuple[str, str]]()
    splits = {}
    for split in SPLITS:
        kept = []
        for path, size, label in _images(root, split, classes):
            if path in skipped:
                unused.remove(path)
            elif fault := _fault(path, size):
                faults.append((path, fault))
            else:
                kept.append((path, size, label))
        splits[split] = Files.of(kept)
    if unused:
        raise DataError(
            f"{skip}: {_some(unused)}: not in {root}; list paths relative to it, as "
            "train/CLASS/NAME, or remove the line"
        )
    if faults:
        raise faulty(root, faults)
    return ImageFolder(root, classes, splits["train"], splits["val"], tuple(sorted(skipped)))


def faulty(root: Path, faults: list[tuple[str, str]]) -> DataError:
    """The error that names the first files by path and fault, and counts all of them by fault."""
    kinds = ", ".join(f"{n} × {kind}" for kind, n in Counter(f for _, f in faults).most_common(3))
    named = "".join(f"\n  {path}: {fault}" for path, fault in faults[:SHOWN])
    message = (
        f"{root}: {len(faults)} files can't be trained on ({kinds}){named}"
        "\nrestore them; or list their paths in a file, one a line, and give data.skip=FILE"
    )
    return DataError(escape_control_chars(message))


def _check_there(root: Path) -> None:
    """Raises DataError where the folder of a split is not there."""
    if all((root / split).is_dir() for split in SPLITS):
        return
    where = root.resolve()
    raise DataError(
        f"ImageNet is not there: {where} must have the folders train and val.\n"
        f"  expected:   {where}/train/CLASS/*.JPEG and {where}/val/CLASS/*.JPEG\n"
        "  get it:     ILSVRC2012_img_train.tar and _val.tar from https://image-net.org (account),"
        "\n              unpacked into a folder a class, validation images too\n"
        "  or:         data.root=FOLDER; data=cifar10 downloads itself, data=digits is built in"
    )


def _skip_list(file: Path) -> set[str]:
    try:
        lines = files.read(file).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "not UTF-8")
        raise DataError(f"data.skip={file}: {reason}; give a file of paths, one a line") from error
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What lies in a folder, sorted by name, without hidden files."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if e.name[0] != "."), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; let this user read it") from error


def _classes(root: Path) -> tuple[str, ...]:
    """The names of the class folders, which both splits must share."""
    names = {}
    for split in SPLITS:
        entries = _entries(root / split)
        if loose := [entry.name for entry in entries if not entry.is_dir()]:
            raise DataError(
                f"{root / split}: {len(loose):,} files lie in it directly ({_some(loose)}); sort "
                f"them into a folder a class: {split}/CLASS/NAME"
            )
        names[split] = [entry.name for entry in entries]
    if not names["train"]:
        raise DataError(f"{root / 'train'}: has no class folder; fill it: train/CLASS/NAME.JPEG")
    if different := {*names["train"]} ^ {*names["val"]}:
        raise DataError(
            f"{root}: {len(different)} classes are in one of train/ and val/ alone "
            f"({_some(different)}); both must have the same folders, or labels would mean "
            "different things"
        )
    return tuple(names["train"])


def _images(root: Path, split: str, classes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Path, size and label of each image of a split; the size is -1 of what is no file."""
    for label, name in enumerate(classes):
        entries = _entries(root / split / name)
        if not entries:
            raise DataError(
                f"{root / split / name}: an empty class; put its images there, or remove the "
                "folder from train and val alike"
            )
        for entry in entries:
            size = entry.stat().st_size if entry.is_file() else -1
            yield f"{split}/{name}/{entry.name}", size, label


def _fault(path: str, size: int) -> str:
    if size <= 0:
        return "zero bytes" if size == 0 else "no regular file"
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 (there may be a million of them)
    return "" if suffix in SUFFIXES else f"{short_repr(suffix or 'no suffix')} is no JPEG"


def _some(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    first, more = sorted(names)[:SHOWN], len([*names]) - SHOWN
    text = ", ".join(map(short_repr, first)) + (f", and {more:,} more" if more > 0 else "")
    return escape_control_chars(text)
