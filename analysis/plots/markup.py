"""Text from run folders, which anyone may have written, as it may stand on a screen or in a file."""

_PICTURES = {c: 0x2400 + c for c in range(32) if chr(c) not in "\t\n"}  # ␀ to ␟
_UNSEEN = [0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SHOWN = _PICTURES | dict.fromkeys([*_UNSEEN, *range(0xD800, 0xE000)], 0xFFFD)


def shown(text: str) -> str:
    """`text` with nothing invisible in it but spaces, tabs and line ends."""
    return text.replace("\r\n", "\n").translate(_SHOWN)
