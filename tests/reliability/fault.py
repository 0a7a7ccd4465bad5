"""A fault of the catalogue: how it is made, and what the person must be told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .child import Outcome
from .place import Place

MOST_LINES = 6


@dataclass(frozen=True)
class Fault:
    id: str
    """The catalogue's: C1, D2, …"""
    what: str
    do: Callable[[Place], Outcome]
    says: tuple[str, ...]
    """Parts of the message: file or key, the value, what is allowed, the remedy."""
    status: int = 2
    touches: bool = True
    """Whether the runs may change by it: a refused command leaves them as they were."""

    @property
    def name(self) -> str:
        return f"{self.id} {self.what}"


def complaints(fault: Fault, folder: Path) -> list[str]:
    """What is wrong with how the product takes the fault; empty where all is as it should be."""
    place = Place(folder)
    outcome = fault.do(place)
    lines = [line for line in outcome.text.splitlines() if line.strip()]
    found = [f"does not say {part!r}" for part in fault.says if part not in outcome.text]
    if outcome.status != fault.status:
        found.append(f"status {outcome.status}, wanted {fault.status}")
    if len(lines) > MOST_LINES:
        found.append(f"{len(lines)} lines")
    if any(len(line) > 600 for line in lines):
        found.append("a line of more than 600 characters")
    if "Traceback" in outcome.text:
        found.append("a traceback")
    if any(not c.isprintable() for line in lines for c in line):
        found.append("characters that nobody sees")
    if not fault.touches and place.runs.exists():
        found.append("something was written into the runs folder")
    return [*found, f"said: {outcome.text}"] if found else []


def line(id: str, *words: str, says: tuple[str, ...], status: int = 2) -> Fault:
    """A command line that is refused, and leaves nothing behind."""
    what = " ".join(words) or "nothing"
    return Fault(id, what[:60], lambda place: place.run(*words), says, status, touches=False)
