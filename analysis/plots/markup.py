"""HTML and embedded JSON from text that nobody vouches for: escaped by construction.

`element` escapes all that isn't `Html` already, so a name or a message can't become markup. Control
characters, and those that turn the direction of writing, are shown as images of themselves.
"""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

_PICTURES = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n"}  # ␀ to ␟
_UNSEEN = [0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SHOWN = _PICTURES | dict.fromkeys([*_UNSEEN, *range(0xD800, 0xE000)], 0xFFFD)
_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}
_VOID = {"br", "img", "input"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def shown(text: str) -> str:
    """`text` with nothing invisible in it but spaces, tabs and line ends."""
    return text.replace("\r\n", "\n").translate(_SHOWN)


def escaped(text: str) -> Html:
    """Text as markup; Html stays what it is."""
    return text if isinstance(text, Html) else Html(html.escape(shown(text)))


def element(name: str, *children: str, **attributes: str | None) -> Html:
    """`<name …>children</name>`; `class_` stands for class, and None leaves an attribute out."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(shown(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"<{name}{named}>{''.join(map(escaped, children))}{end}")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """The parts one behind the other, as markup."""
    return Html(escaped(between).join(map(escaped, parts)))


def table(head: Sequence[str], rows: Iterable[Iterable[str]], class_: str = "") -> Html:
    """A table whose rows become cards on a narrow page; a row's head is first."""
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    lines = (
        element("tr", element("th", first, scope="row"), *map(_cell, head[1:], others))
        for first, *others in rows
    )
    return element("div", element("table", element("thead", titles), element("tbody", *lines),
                                  class_=f"cards {class_}".strip()),
                   class_="scroll", tabindex="0")  # fmt: skip


def _cell(title: str, content: str) -> Html:
    none = "none" if content == "–" else None
    return element("td", element("span", content), class_=none, data_title=title)


def folded(summary: str, *children: str) -> Html:
    """What is shown on demand."""
    return element("details", element("summary", summary), *children)


def script_json(value: Any) -> str:
    """JSON for a script element that nothing in it can end. Raises ValueError for NaN."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.translate(_IN_SCRIPT)
