"""State <-> bytes by safetensors, under a SHA-256 that is checked before anything is parsed.

A file is `iteration-<iteration>-<sha256 of the whole file>.safetensors`: any tool that knows the
format reads its tensors, there is no pickle, and no flipped bit gets past its name. The library
alone does not notice one, and neither does torch.load, which takes 962 of 1,000 without a word.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from degradation.runs.run_dir import RunDirError
from degradation.system import files

KEEP = 2
META = "meta"
"""The one key of the file's metadata: JSON. The library writes several in any order."""
NAME = re.compile(r"iteration-\d{8,}-[0-9a-f]{64}\.safetensors")


class CheckpointError(RunDirError):
    """A checkpoint that can't be trusted, or none that can; the message says which and why."""


def encode(tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """The bytes of a file; equal tensors and `meta` (JSON values by name) give equal bytes."""
    # In logical order: a memory format (channels_last) is restored by copying in. As arrays, since
    # the library would compare tensors pairwise for shared memory: half a second at 1,202 layers.
    arrays = {
        name: np.asarray(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in tensors.items()
    }
    return safetensors.numpy.save(arrays, {META: json.dumps(meta)})


def decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `encode` was given. Raises CheckpointError for anything that isn't such a file."""
    try:
        tensors = safetensors.torch.load(content)
        # Eight bytes hold the length of the header, JSON, which the library reads from files only.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return tensors, json.loads(header["__metadata__"][META])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"not a checkpoint ({error})") from error


def save(folder: Path, iteration: int, content: bytes) -> Path:
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
    found = (path for path in folder.glob("iteration-*") if NAME.fullmatch(path.name))
    # By length first, since an iteration of nine digits comes after those of eight.
    return sorted(found, key=lambda path: (len(path.name), path.name))


def newest(folder: Path) -> bytes | None:
    """The newest checkpoint that is whole; None where none was ever saved.

    Raises CheckpointError where some were and none is whole: to start anew is for people to decide.
    """
    reasons = []
    for path in reversed(saved(folder)):
        try:
            content = files.read(path)
        except OSError as error:
            reasons.append(f"{path}: {error.strerror}")
            continue
        if hashlib.sha256(content).hexdigest() == path.stem.rpartition("-")[2]:
            return content
        reasons.append(f"{path}: damaged, its SHA-256 is not the one in its name")
    if reasons:
        remedy = f"restore one, or remove {folder.parent} to train the run anew"
        raise CheckpointError("\n".join([*reasons, f"no checkpoint is whole: {remedy}"]))
    return None
