"""An attack: how it is made, and the harm that must not come of it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .child import Outcome
from .place import Place

CLEAN = {0, 1, 2, 3, 5, 75}  # statuses that the commands document
MARK = "ran"  # the file that every payload makes where it is run
MOST_SECONDS = 30


@dataclass(frozen=True)
class Attack:
    kind: str
    what: str
    do: Callable[[Place], Outcome]
    refused: bool = True
    """Whether the command must refuse, or may also pass over it."""

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.what}"


def harm(attack: Attack, folder: Path) -> list[str]:
    """What the attack did that it must not; empty where nothing."""
    place = Place(folder / "place")
    place.folder.mkdir()
    kept = _sentinels(folder)
    before = _state(kept)
    outcome = attack.do(place)
    found = []
    if any(path.name == MARK for path in folder.rglob("*")):
        found.append("code was run")
    if _state(kept) != before:
        found.append("something outside was touched")
    if outcome.status not in CLEAN:
        found.append(f"status {outcome.status}")
    if attack.refused and outcome.status == 0:
        found.append("it was taken")
    if "Traceback" in outcome.text:
        found.append("a traceback")
    if any(not c.isprintable() and c not in "\n\t" for c in outcome.text):
        found.append("control characters on the screen")
    if outcome.seconds > MOST_SECONDS:
        found.append(f"{outcome.seconds:.0f} seconds")
    return [*found, f"said: {outcome.text}"] if found else []


def _sentinels(folder: Path) -> list[Path]:
    """Folders in which nothing may happen: one outside, and a home with keys in it."""
    made = [folder / "outside", folder / "place" / "home"]
    for path in made:
        (path / ".ssh").mkdir(parents=True)
        (path / ".ssh" / "id").write_text("a key\nwithout an end")
        (path / ".netrc").write_text("machine x login y password z\n")
    return made


def _state(folders: list[Path]) -> dict[str, str]:
    found = {}
    for path in (path for folder in folders for path in (folder, *folder.rglob("*"))):
        mode = path.lstat().st_mode
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path)] = f"{mode:o} {content}"
    return found
