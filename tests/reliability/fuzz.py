"""Seeded mutations of a real checkpoint and of its header, each under the digest that fits it.

A child of bounded memory reads them all: it may find tensors, or Damaged, and nothing else.
"""

import functools
import json
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from degradation.training import checkpoint

from .child import Outcome
from .place import Place

MEMORY = 256 * 2**20
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    2**31,
    2**63,
    2**64,
    1e308,
    "",
    "F32",
    "x" * 1000,
    [],
    [1, 2],
    [-1],
    [2**40],
    {},
    {"a": 1},
    [[]],
    "\ud800",
    "../x",
    [0, 2**63],
    0.5,
    ["1"],
    "BF16",
    "I64",
]


def mutations(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Half of them of the bytes, half of the header's values."""
    draw = random.Random(seed)
    length = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    for i in range(count):
        yield _bytes(content, length, draw) if i % 2 else _values(header, body, draw)


def _bytes(content: bytes, length: int, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5, 20))):
        # Two of three where the structure is: what a flip in the body does is another number.
        at = draw.randrange(8 + length if draw.random() < 0.67 else len(changed) or 1)
        match draw.randrange(5):
            case 0:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at % len(changed)] = draw.randrange(256)
            case 2:
                del changed[at : at + draw.randrange(1, 50)]
            case 3:
                changed[at:at] = draw.randbytes(draw.randrange(1, 50))
            case 4:
                changed[at : at + 8] = draw.randbytes(8)
        if not changed:
            break
    return bytes(changed[: draw.randrange(len(changed))] if draw.random() < 0.1 else changed)


def _values(header: dict[str, Any], body: bytes, draw: random.Random) -> bytes:
    changed = json.loads(json.dumps(header))
    for _ in range(draw.choice((1, 1, 2, 4))):
        spot = changed
        key: Any = draw.choice(list(spot))
        while isinstance(spot[key], dict | list) and spot[key] and draw.random() < 0.8:
            spot = spot[key]
            key = draw.choice(list(spot)) if isinstance(spot, dict) else draw.randrange(len(spot))
        match draw.randrange(4):
            case 0:
                del spot[key]
            case 1 if isinstance(spot[key], int):
                spot[key] += draw.choice((-4, -1, 1, 4, 2**31, 2**62))
            case _:
                spot[key] = draw.choice(ODD)
        if not changed:
            break
    text = json.dumps(changed).encode()
    return len(text).to_bytes(8, "little") + text + body


def read_all(count: int, seed: int, folder: Path) -> Outcome:
    """Read COUNT of them; status 0, unless one of them does what none may."""
    place = Place(folder)
    return place.call(functools.partial(_read_all, _real(), count, seed), MEMORY)


@functools.cache
def _real() -> bytes:
    """A checkpoint as a run leaves it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Place(Path(folder)).trained()
        content = checkpoint.newest(run.checkpoints)
    assert content is not None
    return content


def _read_all(content: bytes, count: int, seed: int) -> int:
    found = {"damaged": 0, "read": 0}
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i, changed in enumerate(mutations(content, count, seed)):
        began = time.monotonic()
        try:
            _, meta = checkpoint.decode(changed)
            checkpoint.check_meta(meta)
            found["read"] += 1
        except checkpoint.CheckpointError:
            found["damaged"] += 1
        except BaseException as error:
            print(f"mutation {i} of seed {seed}: {type(error).__name__}: {error}")
            return 1
        slowest = max(slowest, time.monotonic() - began)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{found['damaged']:,} damaged, {found['read']:,} read; the slowest {slowest:.3f} s; "
        f"{grown:.0f} MiB more"
    )
    if not all(found.values()):
        return 3  # then the mutations reach nothing
    return 0 if slowest < 2 else 4
