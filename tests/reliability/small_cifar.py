"""CIFAR-10 in small: its six files' names, four records each, and members of an archive."""

import random
import tarfile

from degradation.data import cifar10

RECORDS = 4
NAMES = list(cifar10.MEMBER_SHA256)
Member = tuple[tarfile.TarInfo, bytes]


def content_of(name: str) -> bytes:
    """Records of noise that can be compressed, labelled 0 to 3."""
    draw = random.Random(name)
    return b"".join(bytes([i]) + draw.randbytes(1536).hex().encode() for i in range(RECORDS))


def member(name: str, content: bytes = b"", **attributes: object) -> Member:
    """A member of a tar archive, with whatever attributes it is to claim."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for attribute, value in attributes.items():
        setattr(entry, attribute, value)
    return entry, content
