"""One line of the table: what was tried, what was wanted, what came."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    section: str
    what: str
    wanted: str
    got: str
    ok: bool
