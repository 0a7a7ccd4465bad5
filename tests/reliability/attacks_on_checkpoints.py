"""Hostile checkpoints under good digests: pickles in every wrapping, bombs, and lies. Z1, Z3."""

import functools
import gzip
import importlib
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from degradation.training import checkpoint

from .attack import MARK, Attack
from .child import Outcome
from .place import Place

MEMORY = 512 * 2**20

# What a pickle would call, as (function, arguments): each makes the mark.
CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "os.system": ("os.system", (f"touch {MARK}",)),
    "subprocess.call": ("subprocess.call", (["touch", MARK],)),
    "subprocess.Popen": ("subprocess.Popen", (["touch", MARK],)),
    "os.popen": ("os.popen", (f"touch {MARK}",)),
    "exec": ("builtins.exec", (f"open({MARK!r}, 'w')",)),
    "eval": ("builtins.eval", (f"open({MARK!r}, 'w')",)),
    "open": ("builtins.open", (MARK, "w")),
    "os.mkdir": ("os.mkdir", (MARK,)),
    "os.mknod": ("os.mknod", (MARK,)),
    "shutil.copyfile": ("shutil.copyfile", ("/etc/hostname", MARK)),
    "pathlib.Path.touch": ("pathlib.Path.touch", (Path(MARK),)),
    "timeit": (
        "timeit.timeit",
        (f"open({MARK!r}, 'w')", "pass", __import__("timeit").default_timer, 1),
    ),
    "tarfile.open": ("tarfile.open", (MARK, "w")),
    "zipfile.ZipFile": ("zipfile.ZipFile", (MARK, "w")),
    "logging.FileHandler": ("logging.FileHandler", (MARK,)),
}


class _Calls:
    def __init__(self, name: str) -> None:
        path, self.arguments = CALLS[name]
        module, *names = path.split(".")
        found: Any = importlib.import_module(module)
        for part in names:
            found = getattr(found, part)
        self.function = found

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def _pickled(name: str, protocol: int = 2) -> bytes:
    return pickle.dumps({"network": [1.0, _Calls(name)]}, protocol)


def _zipped(content: bytes, name: str = "archive/data.pkl") -> bytes:
    """As torch.save packs it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def _tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _headed(content: bytes) -> bytes:
    """A pickle in the place of the header."""
    return len(content).to_bytes(8, "little") + content


def _inside(content: bytes) -> bytes:
    """A pickle as a tensor's bytes, in a file that is otherwise good."""
    content += bytes(-len(content) % 4)
    return file_of({"x": entry("F32", [len(content) // 4], 0, len(content))}, content)


WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda content: content,
    "in a zip": _zipped,
    "in a tar": _tarred,
    "in a gzip": gzip.compress,
    "as header": _headed,
    "as tensor": _inside,
}


def entry(dtype: Any, shape: Any, start: Any, stop: Any, **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop], **more}


def file_of(tensors: Any, body: bytes = b"", meta: Any = None, length: int | None = None) -> bytes:
    """A file in the format, whatever it claims."""
    header = (
        tensors
        if isinstance(tensors, bytes)
        else json.dumps({"__metadata__": {} if meta is None else meta, **tensors}).encode()
    )
    return (len(header) if length is None else length).to_bytes(8, "little") + header + body


FOUR = bytes(16)
HUGE = 2**33
LIES: dict[str, bytes] = {
    "2^33 elements": file_of({"x": entry("F32", [HUGE], 0, 4 * HUGE)}, FOUR),
    "2^33 elements in 16 bytes": file_of({"x": entry("F32", [HUGE], 0, 16)}, FOUR),
    "2^33 with strides of 0": file_of({"x": entry("F32", [HUGE], 0, 16, strides=[0])}, FOUR),
    "a product beyond 64 bits": file_of({"x": entry("F32", [2**62, 2**62], 0, 16)}, FOUR),
    "a side beyond 64 bits": file_of({"x": entry("F32", [0, 2**80], 0, 0)}),
    "a million sides": file_of({"x": entry("F32", [1] * 1_000_000, 0, 4)}, bytes(4)),
    "a header of 2^63 bytes": file_of({}, length=2**63),
    "a header longer than the file": file_of({}, length=10_000),
    "a header of nothing": file_of(b""),
    "no bytes": b"",
    "seven bytes": bytes(7),
    "zeros": bytes(10_000),
    "ones": b"\xff" * 10_000,
    "JSON 200,000 deep": file_of(b"[" * 200_000 + b"]" * 200_000),
    "JSON 200,000 deep in the meta": file_of({}, meta={"run": "[" * 200_000}),
    "objects 200,000 deep": file_of(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a number of 100,000 digits": file_of({}, meta={"rows": "9" * 100_000}),
    "a side of 5,000 digits": file_of(
        b'{"__metadata__":{},"x":{"dtype":"F32","shape":['
        + b"9" * 5000
        + b'],"data_offsets":[0,4]}}'
    ),
    "tensors that overlap": file_of(
        {"x": entry("F32", [3], 0, 12), "y": entry("F32", [2], 8, 16)}, FOUR
    ),
    "tensors with a gap": file_of(
        {"x": entry("F32", [1], 0, 4), "y": entry("F32", [1], 12, 16)}, FOUR
    ),
    "bytes left over": file_of({"x": entry("F32", [1], 0, 4)}, FOUR),
    "a name twice": file_of(
        b'{"__metadata__":{},"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":'
        b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        FOUR,
    ),
    "a negative side": file_of({"x": entry("F32", [-4], 0, 16)}, FOUR),
    "two negative sides": file_of({"x": entry("F32", [-2, -2], 0, 16)}, FOUR),
    "half a side": file_of({"x": entry("F32", [4.0], 0, 16)}, FOUR),
    "a side that is a word": file_of({"x": entry("F32", ["4"], 0, 16)}, FOUR),
    "no shape": file_of({"x": entry("F32", None, 0, 16)}, FOUR),
    "a shape that is a word": file_of({"x": entry("F32", "4", 0, 16)}, FOUR),
    "another dtype's size": file_of({"x": entry("F64", [4], 0, 16)}, FOUR),
    "no such dtype": file_of({"x": entry("F8_E4M3", [16], 0, 16)}, FOUR),
    "a dtype that is a list": file_of({"x": entry(["F32"], [4], 0, 16)}, FOUR),
    "a dtype that is code": file_of({"x": entry("torch.float32", [4], 0, 16)}, FOUR),
    "places that are negative": file_of({"x": entry("F32", [4], -16, 0)}, FOUR),
    "places the wrong way round": file_of({"x": entry("F32", [4], 16, 0)}, FOUR),
    "places beyond the end": file_of({"x": entry("F32", [4], 16, 32)}, FOUR),
    "places that are words": file_of({"x": entry("F32", [4], "0", "16")}, FOUR),
    "three places": file_of(
        {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8, 16]}}, FOUR
    ),
    "places that are not numbers": file_of({"x": entry("F32", [4], 0, float("nan"))}, FOUR),
    "an entry that is a list": file_of({"x": [1, 2]}, FOUR),
    "an entry that is nothing": file_of({"x": None}, FOUR),
    "meta that is a list": file_of({}, meta=[1]),
    "meta that is no JSON": file_of({}, meta={"run": "{"}),
    "meta that is no text": file_of({}, meta={"run": {"a": 1}}),
    "no meta": file_of(b"{}"),
    "a header that is a list": file_of(b"[]"),
    "a header in UTF-16": file_of('{"__metadata__":{}}'.encode("utf-16")),
    "a header that isn't text": file_of(b"\xff\xfe{}"),
}


def _decoded(content: bytes, place: Place) -> Outcome:
    """As a resume would read it, in little memory."""

    def decode() -> int:
        try:
            _, meta = checkpoint.decode(content)
            checkpoint.check_meta(meta)
        except checkpoint.CheckpointError as error:
            print(str(error)[:200].encode("unicode_escape").decode())
            return 2
        return 0

    return place.call(decode, memory=MEMORY)


def _resumed(content: bytes, place: Place) -> Outcome:
    """Planted into a run, under its own digest, and resumed by the worker."""
    run = place.partial()
    for path in checkpoint.saved(run.checkpoints):
        path.unlink()
    checkpoint.save(run.checkpoints, 12, content)
    return place.worker()


NAMED = file_of(
    {"../../outside/x": entry("F32", [4], 0, 16), "/etc/x": entry("F32", [0], 16, 16)},
    FOUR,
    {"run": '"x"', "fingerprint": "{}", "iteration": "1", "rows": "0"},
)


def attacks(full: bool) -> list[Attack]:
    """All of them; the quick form takes each call in two wrappings, and each wrapping with some."""
    wrapped = [
        (name, how)
        for i, name in enumerate(CALLS)
        for j, how in enumerate(WRAPPINGS)
        if full or i % 3 == j % 3
    ]
    return [
        *(
            Attack(
                "checkpoint",
                f"a pickle that calls {name}, {how}",
                functools.partial(_decoded, WRAPPINGS[how](_pickled(name))),
            )
            for name, how in wrapped
        ),
        *(
            Attack(
                "checkpoint",
                f"protocol {protocol} of pickle",
                functools.partial(_decoded, _pickled("os.system", protocol)),
            )
            for protocol in range(6)
        ),
        *(
            Attack("checkpoint", what, functools.partial(_decoded, content))
            for what, content in LIES.items()
        ),
        Attack("checkpoint", "names that lead out", functools.partial(_resumed, NAMED)),
        *(
            Attack(
                "checkpoint",
                f"a pickle {how}, resumed",
                functools.partial(_resumed, wrap(_pickled("os.system"))),
            )
            for how, wrap in WRAPPINGS.items()
        ),
    ]
