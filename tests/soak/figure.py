"""One line of the table: what was wanted, what was found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`ok`: whether `got` is what was `wanted`."""

    section: str
    what: str
    wanted: str
    got: str
    ok: bool
