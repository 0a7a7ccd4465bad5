"""State <-> bytes, in the safetensors format, under a SHA-256 that is checked before anything else.

A file is `iteration-<iteration>-<sha256 of the whole file>.safetensors`: any tool that knows the
format reads its tensors, and no flipped bit gets past its name (torch.load takes 962 of 1,000 of
them without a word). There is no pickle. The format: 8 bytes little endian, the header's length;
the header, JSON: dtype, shape and place of each tensor; the tensors' bytes, without gaps.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degradation.system import files
from degradation.system.console import short_repr
from degradation.system.files import Bytes

KEEP = 2
MAX_HEADER = 100 * 2**20  # the format's own limit
MARGIN = 4096  # bytes by which a header may grow: an iteration with more digits
_DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
_HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_FILE = re.compile(r"iteration-(\d{8,})-([0-9a-f]{64})\.safetensors")


class CheckpointError(ValueError):
    """A checkpoint that can't be trusted, or none that can; the message says which and why."""


class Encoder:
    """Makes files of the same tensors again and again, in memory that it keeps.

    What a save takes is paid for in lost work (see train.Saver): so the header's entries are
    written once, and each tensor is copied straight to its place in the file. Fresh memory for
    each file would cost as much as the copying.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.entries, self.size = _entries(tensors)
        self.memory = np.empty(0, dtype=np.uint8)

    def __call__(self, meta: dict[str, Any]) -> memoryview:
        """The bytes of a file, which the next call changes; `meta`: JSON values by name."""
        values = json.dumps({k: json.dumps(v) for k, v in meta.items()}, separators=(",", ":"))
        head = f'{{"__metadata__":{values}{"," if self.tensors else ""}{self.entries}'.encode()
        head += b" " * (-len(head) % 8)
        place = 8 + len(head)
        if self.memory.size < place + self.size:
            self.memory = np.empty(place + self.size + MARGIN, dtype=np.uint8)
        content = self.memory[: place + self.size]
        content[:place] = np.frombuffer(len(head).to_bytes(8, "little") + head, np.uint8)
        for tensor in self.tensors.values():
            # In logical order: a memory format (channels_last) is restored by copying in.
            array = tensor.detach().cpu().numpy()
            np.ndarray(array.shape, array.dtype, content, place)[...] = array
            place += tensor.nbytes
        return content.data


def _entries(tensors: dict[str, Tensor]) -> tuple[str, int]:
    """What the header says of each tensor, up to its closing brace; and the bytes of them all."""
    found, size = {}, 0
    for name, tensor in tensors.items():
        found[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [size, size + tensor.nbytes],
        }
        size += tensor.nbytes
    return json.dumps(found, separators=(",", ":"))[1:], size


def encode(tensors: dict[str, Tensor], meta: dict[str, Any]) -> memoryview:
    """The bytes of a file; equal tensors and `meta` (JSON values by name) give equal bytes."""
    return Encoder(tensors)(meta)


def decode(content: Bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `encode` was given. Raises CheckpointError for anything that isn't such a file."""
    with _damaged():
        header, body = _split(content)
        meta = {k: json.loads(v) for k, v in header.pop("__metadata__").items()}
        return _tensors(header, body, _DTYPES), meta


def tensors(content: Bytes) -> dict[str, Tensor]:
    """The tensors of any safetensors file, also in half precision. Raises CheckpointError."""
    with _damaged():
        header, body = _split(content)
        header.pop("__metadata__", None)
        return _tensors(header, body, _DTYPES | _HALVES)


@contextmanager
def _damaged() -> Iterator[None]:
    """Whatever goes wrong in reading hostile bytes is CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"not a checkpoint ({error})") from error


def check_meta(meta: dict[str, Any]) -> None:
    """Raise CheckpointError unless `meta` has what a resume needs, each of its kind."""
    kinds = {"run": str, "fingerprint": dict, "iteration": int, "rows": int}
    for key, kind in kinds.items():
        value: Any = meta.get(key)
        if (isinstance(value, int) and value < 0) or type(value) is not kind:
            raise CheckpointError(f"its {key} is {short_repr(value)}")
    if not _is_plateau(meta.get("plateau", {})):
        raise CheckpointError(f"its plateau is {short_repr(meta['plateau'])}")
    if not (meta.get("warmup_end") is None or type(meta["warmup_end"]) is int):
        raise CheckpointError(f"its warmup_end is {short_repr(meta['warmup_end'])}")


def _is_plateau(found: Any) -> bool:
    """Whether it is what optim.Plateau says of itself, or nothing."""
    if found == {}:
        return True
    if not (isinstance(found, dict) and found.keys() == {"least", "idle", "dropped"}):
        return False
    dropped, least = found["dropped"], found["least"]
    fine = isinstance(dropped, list) and all(type(d) is int for d in dropped)
    return fine and type(found["idle"]) is int and (least is None or type(least) in (int, float))


def _split(content: Bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the tensors' bytes."""
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER, len(content)):
        raise CheckpointError("its header is longer than the file")
    header: dict[str, Any] = json.loads(bytes(content[8 : 8 + length]))
    return header, memoryview(bytearray(content[8 + length :]))  # writable, as torch wants it


def _tensors(
    header: dict[str, Any], body: memoryview, dtypes: dict[str, torch.dtype]
) -> dict[str, Tensor]:
    found = {name: _tensor(body, entry, dtypes) for name, entry in header.items()}
    places = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    if [0, *(stop for _, stop in places)] != [*(start for start, _ in places), len(body)]:
        raise CheckpointError("its tensors overlap or leave gaps")
    return found


def _tensor(body: memoryview, entry: dict[str, Any], dtypes: dict[str, torch.dtype]) -> Tensor:
    dtype, shape, (start, stop) = dtypes[entry["dtype"]], entry["shape"], entry["data_offsets"]
    count = 1
    for side in shape:
        if not isinstance(side, int) or side < 0:
            raise CheckpointError(f"a shape is {shape}")
        count *= side
    # Checked before anything is allocated: a shape must be as large as its bytes, no larger.
    if not 0 <= start <= stop <= len(body) or stop - start != count * dtype.itemsize:
        raise CheckpointError(f"{shape} does not fit bytes {start} to {stop}")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body, dtype=dtype, count=count, offset=start).reshape(shape)


def save(folder: Path, iteration: int, content: Bytes) -> Path:
    """Write a checkpoint, read it back, and only then remove all but the newest KEEP.

    One of the same iteration goes, too: it was saved while its row was being measured, and nothing
    in their names would tell which is the newer.
    """
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"iteration-{iteration:08d}-{digest}.safetensors"
    files.write_atomically(path, content)
    if files.sha256_of(path) != digest:
        raise CheckpointError(f"{path}: the disk gave back other bytes than were written")
    others = [old for old in saved(folder) if old != path]
    same = [old for old in others if old.name.startswith(f"iteration-{iteration:08d}-")]
    for old in same or others[: 1 - KEEP]:
        files.remove(old)
    return path


def saved(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, the oldest first."""
    found = (path for path in folder.glob("iteration-*") if _FILE.fullmatch(path.name))
    return sorted(found, key=lambda path: (len(path.name), path.name))  # 9 digits come after 8


def newest(folder: Path) -> bytes | None:
    """The newest checkpoint that is whole; None where none was ever saved.

    Raises CheckpointError where some were and none is whole: to start anew is for people to decide.
    """
    reasons = []
    for path in reversed(saved(folder)):
        match = _FILE.fullmatch(path.name)
        assert match is not None
        try:
            content = files.read(path)
        except OSError as error:
            reasons.append(f"{path}: {error.strerror}")
            continue
        if hashlib.sha256(content).hexdigest() == match[2]:
            return content
        reasons.append(f"{path}: damaged, its SHA-256 is not the one in its name")
    if reasons:
        remedy = f"restore one, or remove {folder.parent} to train the run anew"
        raise CheckpointError("\n".join([*reasons, f"no checkpoint is whole: {remedy}"]))
    return None
