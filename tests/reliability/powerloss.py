"""A power cut at any moment of a save, replayed: what was not forced to the disk may be gone.

The model is a strict one: names change in their order, and any number of the changes since the
folder was last forced may be lost; bytes of a file that was not forced are all there, half there,
or a hole of zeros.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from degradation.system import files as storage
from degradation.training import checkpoint

from . import operations


@dataclass
class Trace:
    """The operations of a save, as (name, arguments) in order."""

    folder: Path
    steps: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Open descriptors."""

    def record(self, content: bytes, iteration: int) -> None:
        """Save, and note what storage asks of the kernel."""
        real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink")}

        def watch(name: str) -> None:
            def operation(*args: object, **named: object) -> object:
                result = real[name](*args, **named)
                if operations.from_storage():
                    self._note(name, args, result)
                return result

            setattr(os, name, operation)

        try:
            for name in real:
                watch(name)
            checkpoint.save(self.folder, iteration, content)
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def _note(self, name: str, args: tuple[object, ...], result: object) -> None:
        if name == "open":
            self.names[int(str(result))] = Path(str(args[0])).name
            if not int(str(args[1])) & os.O_CREAT:
                return
            self.steps.append(("create", (Path(str(args[0])).name,)))
        elif name == "write":
            content = bytes(args[1])[: int(str(result))]  # type: ignore[arg-type]
            self.steps.append(("write", (self.names[int(str(args[0]))], content)))
        elif name == "fsync":
            file = self.names[int(str(args[0]))]
            self.steps.append(("sync folder" if file == self.folder.name else "sync", (file,)))
        else:
            self.steps.append((name, tuple(Path(str(a)).name for a in args)))


@dataclass
class Disk:
    """Files by number, with what is forced and what is not; names, likewise."""

    files: list[bytes] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    changes: list[tuple[str, int | None]] = field(default_factory=list)
    """To the names, not forced yet."""

    def add(self, name: str, content: bytes, forced: bool = False) -> None:
        self.files.append(content)
        self.forced.append(forced)
        self.changes.append((name, len(self.files) - 1))
        if forced:
            self.force()

    def force(self) -> None:
        for name, number in self.changes:
            _apply(self.names, name, number)
        self.changes = []

    def now(self) -> dict[str, int]:
        names = dict(self.names)
        for name, number in self.changes:
            _apply(names, name, number)
        return names

    def do(self, step: str, args: tuple[object, ...]) -> None:
        """One of `Trace.steps`."""
        name = str(args[0])
        if step == "create":
            self.add(name, b"")
        elif step == "write":
            number = self.now()[name]
            self.files[number] += args[1]  # type: ignore[operator]
            self.forced[number] = False
        elif step == "sync":
            self.forced[self.now()[name]] = True
        elif step == "sync folder":
            self.force()
        elif step == "replace":
            number = self.now()[name]
            self.changes += [(str(args[1]), number), (name, None)]
        elif name in self.now():
            self.changes.append((name, None))

    def after_a_cut(self) -> Iterator[dict[str, bytes]]:
        """What may be found in the folder."""
        for kept in range(len(self.changes) + 1):
            names = dict(self.names)
            for name, number in self.changes[:kept]:
                _apply(names, name, number)
            for lost in range(3):
                yield {name: self._found(number, lost) for name, number in names.items()}

    def _found(self, number: int, lost: int) -> bytes:
        content = self.files[number]
        if self.forced[number] or lost == 0:
            return content
        return content[: len(content) // 2] if lost == 1 else bytes(len(content))


def _apply(names: dict[str, int], name: str, number: int | None) -> None:
    if number is None:
        names.pop(name, None)
    else:
        names[name] = number


def states(folder: Path, content: bytes, older: int) -> tuple[int, int]:
    """How many folders a cut may leave of a save after `older` others, and how many are bad.

    Bad: an old checkpoint or the new one is no longer to be had, or something else is loaded.
    """
    storage.make_folder(folder / "save")
    before = [checkpoint.save(folder / "save", i, content + bytes([i])) for i in range(older)]
    disk = Disk()
    for path in before:
        disk.add(path.name, path.read_bytes(), forced=True)
    trace = Trace(folder / "save")
    trace.record(content, 9)
    allowed = {content, content + bytes([older - 1])} if older else {content, None}
    count = bad = 0
    for step in [None, *trace.steps]:
        if step is not None:
            disk.do(*step)
        for found in disk.after_a_cut():
            count += 1
            place = folder / "cut"
            storage.make_folder(place)
            for name, there in found.items():
                (place / name).write_bytes(there)
            try:
                bad += checkpoint.newest(place) not in allowed
            except checkpoint.CheckpointError:
                bad += 1
            shutil.rmtree(place)
    return count, bad
