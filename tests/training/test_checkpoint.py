"""Checkpoints come back bit by bit, or not at all: damage of every kind is seen and named."""

import hashlib
import json
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degradation.system import files
from degradation.training import checkpoint
from tests.reliability.damage import flip, truncate, zero

META = {"iteration": 12, "run": "digits-plain-8", "rows": [1, 2.5, None], "é": {"a": True}}


def state(seed: int = 0) -> dict[str, Tensor]:
    """A tensor of every kind that a training state may have, and a few more."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 3, 3, 3, generator=draw)
    return {
        "weight": weight.to(memory_format=torch.channels_last),
        "double": torch.randn(5, generator=draw, dtype=torch.float64),
        "whole": torch.tensor([[-(2**63), 2**63 - 1]]),
        "scalar": torch.tensor(7),
        "float scalar": torch.tensor(0.1),
        "empty": torch.empty(0, 3),
        "special": torch.tensor([torch.inf, -torch.inf, -0.0, 1e-45]),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "large": torch.randn(64, 256, generator=draw),
    }


def assert_equal(ours: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert ours.keys() == other.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == other[name].dtype, name
        assert tensor.shape == other[name].shape, name
        assert torch.equal(tensor.detach(), other[name]), name


def test_round_trip() -> None:
    tensors, meta = checkpoint.decode(checkpoint.encode(state(), META))
    assert_equal(state(), tensors)
    assert meta == META
    assert list(tensors) == list(state())


def test_round_trip_of_nothing() -> None:
    assert checkpoint.decode(checkpoint.encode({}, {})) == ({}, {})


def test_nan_keeps_its_bits() -> None:
    bits = torch.tensor([0x7FC00000, 0x7F800001, -1], dtype=torch.int32)
    content = checkpoint.encode({"a": bits.view(torch.float32)}, {})
    assert torch.equal(checkpoint.decode(content)[0]["a"].view(torch.int32), bits)


def test_what_is_read_can_be_written_to() -> None:
    tensors, _ = checkpoint.decode(checkpoint.encode(state(), META))
    tensors["double"].add_(1)
    assert_equal({"large": state()["large"]}, {"large": tensors["large"]})


def test_equal_state_gives_equal_bytes() -> None:
    dense = {name: tensor.detach().contiguous() for name, tensor in state().items()}
    assert checkpoint.encode(dense, META) == checkpoint.encode(state(), dict(META))
    assert checkpoint.encode(state(1), META) != checkpoint.encode(state(), META)
    assert checkpoint.encode(state(), {**META, "iteration": 13}) != checkpoint.encode(state(), META)


def test_the_body_is_aligned() -> None:
    for length in range(9):
        content = checkpoint.encode({"a": torch.ones(1)}, {"m": "x" * length})
        assert int.from_bytes(content[:8], "little") % 8 == 0


def test_the_safetensors_library_reads_ours(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = checkpoint.save(tmp_path, 12, checkpoint.encode(state(), META))
    with safetensors.safe_open(path, framework="pt") as file:
        assert_equal(state(), {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        assert {k: json.loads(v) for k, v in file.metadata().items()} == META


def test_ours_reads_the_safetensors_librarys(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch")
    tensors = {name: tensor.detach().contiguous() for name, tensor in state().items()}
    library.save_file(tensors, tmp_path / "file", {k: json.dumps(v) for k, v in META.items()})
    again, meta = checkpoint.decode((tmp_path / "file").read_bytes())
    assert_equal(tensors, again)
    assert meta == META


def test_an_encoder_goes_on_with_what_the_tensors_are_now() -> None:
    tensors = state()
    encoder = checkpoint.Encoder(tensors)
    for meta in (META, {**META, "iteration": 10**12}, {}, {"long": "x" * 10_000}, META):
        for tensor in tensors.values():
            tensor.detach().add_(1)
        assert bytes(encoder(meta)) == bytes(checkpoint.encode(tensors, meta))
        assert_equal(tensors, checkpoint.decode(encoder(meta))[0])


# On disk


def test_save_names_the_file_by_iteration_and_digest(tmp_path: Path) -> None:
    content = checkpoint.encode(state(), META)
    path = checkpoint.save(tmp_path, 12, content)
    digest = hashlib.sha256(content).hexdigest()
    assert path.name == f"iteration-00000012-{digest}.safetensors"
    assert path.read_bytes() == content
    assert checkpoint.newest(tmp_path) == content


def test_save_keeps_the_newest(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (4, 8, 12, 16)]
    assert checkpoint.saved(tmp_path) == paths[-checkpoint.KEEP :]
    assert sorted(tmp_path.iterdir()) == paths[-checkpoint.KEEP :]


def test_of_one_iteration_the_later_one_is_the_newest(tmp_path: Path) -> None:
    """Whatever their digests are: a stop saves before a row is measured, the end after it."""
    for seed in range(6):
        checkpoint.save(tmp_path, 3, checkpoint.encode(state(9), META))
        for part in range(2):
            content = checkpoint.encode(state(10 * seed + part), META)
            checkpoint.save(tmp_path, 12, content)
            assert checkpoint.newest(tmp_path) == content
        assert len(checkpoint.saved(tmp_path)) == 2


def test_iterations_of_nine_digits_come_after_those_of_eight(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (99_999_998, 99_999_999, 10**8)]
    assert checkpoint.saved(tmp_path) == paths[1:]
    assert checkpoint.newest(tmp_path) == b"100000000"


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    names = ["notes.txt", "iteration-x.safetensors", ".iteration-00000004-ab.safetensors.1.tmp"]
    for name in names:
        (tmp_path / name).touch()
    for i in range(4):
        checkpoint.save(tmp_path, i, b"%d" % i)
    assert {p.name for p in tmp_path.iterdir()} >= set(names)
    assert checkpoint.newest(tmp_path) == b"3"


def test_none_saved_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "no folder") is None


def test_a_full_disk_leaves_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (4, 8)]

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path, 12, b"12")
    assert sorted(tmp_path.iterdir()) == paths


def test_a_disk_that_gives_back_other_bytes_costs_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (4, 8)]

    def write_wrong(path: Path, content: bytes) -> None:
        path.write_bytes(content[:-1] + b"?")

    monkeypatch.setattr(files, "write_atomically", write_wrong)
    with pytest.raises(checkpoint.CheckpointError, match="the disk gave back other bytes"):
        checkpoint.save(tmp_path, 12, b"12")
    assert checkpoint.saved(tmp_path)[:-1] == paths
    assert checkpoint.newest(tmp_path) == b"8"


@pytest.mark.parametrize(("damage", "times"), [(flip, 200), (truncate, 60), (zero, 60)])
def test_damage_is_never_read_and_the_previous_file_is(
    damage: Callable[[bytes, random.Random], bytes], times: int, tmp_path: Path
) -> None:
    older, newer = (bytes(checkpoint.encode(state(i), {"iteration": i})) for i in (4, 8))
    checkpoint.save(tmp_path, 4, older)
    path = checkpoint.save(tmp_path, 8, newer)
    draw = random.Random(0)
    for _ in range(times):
        damaged = damage(newer, draw)
        assert damaged != newer
        path.write_bytes(damaged)
        assert checkpoint.newest(tmp_path) == older
    path.write_bytes(newer)
    assert checkpoint.newest(tmp_path) == newer


def test_a_checkpoint_under_another_ones_name_is_not_read(tmp_path: Path) -> None:
    older = checkpoint.save(tmp_path, 4, b"4")
    newer = checkpoint.save(tmp_path, 8, b"8")
    newer.write_bytes(older.read_bytes())
    assert checkpoint.newest(tmp_path) == b"4"


def test_one_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 4, b"4")
    (tmp_path / f"iteration-00000008-{'0' * 64}.safetensors").mkdir()
    assert checkpoint.newest(tmp_path) == b"4"


def test_all_damaged_is_told_with_each_file_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    paths = [checkpoint.save(folder, i, b"%d" % i) for i in (4, 8)]
    for path in paths:
        path.write_bytes(b"?")
    (folder / f"iteration-00000012-{'0' * 64}.safetensors").mkdir()
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.newest(folder)
    lines = str(caught.value).splitlines()
    assert "Is a directory" in lines[0]
    assert lines[1:3] == [
        f"{path}: damaged, its SHA-256 is not the one in its name" for path in reversed(paths)
    ]
    assert lines[3].endswith(f"remove {folder.parent} to train the run anew")


# Hostile bytes


def file(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header (bytes, or what JSON is made of) and, if it says so, another length."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(head) if length is None else length).to_bytes(8, "little") + head + body


def entry(dtype: Any, shape: Any, offsets: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def one(*what: Any, body: bytes = bytes(8)) -> bytes:
    """A file with one tensor, of this dtype, shape and place."""
    return file({"__metadata__": {}, "a": entry(*what)}, body)


def two(first: list[int], second: list[int]) -> bytes:
    """A file with two tensors in eight bytes, each as large as its place."""
    places = {"a": first, "b": second}
    entries = {k: entry("F32", [(v[1] - v[0]) // 4], v) for k, v in places.items()}
    return file({"__metadata__": {}, **entries}, bytes(8))


DEEP = b"[" * 10**6
HOSTILE = {
    "nothing": b"",
    "a few bytes": b"\1\0\0",
    "no header": bytes(8),
    "header longer than the file": file({}, length=2**20),
    "header of 16 EiB": file({}, length=2**64 - 1),
    "header beyond the format's limit": file({}, length=checkpoint.MAX_HEADER + 1),
    "header cut": file({"__metadata__": {}}, length=5),
    "header no JSON": file(b"{'a': 1}"),
    "header no UTF-8": file(b'{"\xff": 1}'),
    "header a list": file([1, 2]),
    "header a number": file(5),
    "header null": file(None),
    "header of one digit too many": file(b'{"__metadata__": {}, "a": ' + b"9" * 5000 + b"}"),
    "header nested deeply": file(DEEP),
    "entry nested deeply": file(b'{"__metadata__": {}, "a": ' + DEEP),
    "metadata nested deeply": file({"__metadata__": {"a": DEEP.decode()}}),
    "metadata missing": file({"a": entry("F32", [2], [0, 8])}, bytes(8)),
    "metadata null": file({"__metadata__": None}),
    "metadata a list": file({"__metadata__": ["a"]}),
    "metadata no JSON": file({"__metadata__": {"a": "{"}}),
    "metadata no text": file({"__metadata__": {"a": 5}}),
    "entry a number": file({"__metadata__": {}, "a": 5}),
    "entry empty": file({"__metadata__": {}, "a": {}}),
    "entry without a place": file({"__metadata__": {}, "a": {"dtype": "F32", "shape": [0]}}),
    "unknown dtype": one("BF16", [4], [0, 8]),
    "dtype a list": one(["F32"], [2], [0, 8]),
    "dtype null": one(None, [2], [0, 8]),
    "shape larger than its bytes": one("F32", [3], [0, 8]),
    "shape smaller than its bytes": one("F32", [1], [0, 8]),
    "shape of a terabyte": one("F32", [2**38], [0, 8]),
    "shape of 2^64 and a bit": one("F32", [2**32, 2**32, 2], [0, 8]),
    "shape beyond 64 bits": one("F32", [2**70], [0, 8]),
    "shape empty and beyond 64 bits": one("F32", [0, 2**70], [0, 0], body=b""),
    "shape empty and of too large strides": one("F32", [0, 2**62, 2**62], [0, 0], body=b""),
    "side negative": one("F32", [-2], [0, 8]),
    "two sides negative": one("F32", [-1, -2], [0, 8]),
    "side a fraction": one("F32", [2.0], [0, 8]),
    "side a word": one("F32", ["2"], [0, 8]),
    "shape a number": one("F32", 2, [0, 8]),
    "shape a word": one("F32", "2", [0, 8]),
    "shape null": one("F32", None, [0, 8]),
    "place behind the end": one("F32", [2], [8, 16]),
    "place across the end": one("F32", [2], [4, 12]),
    "place negative": one("F32", [2], [-8, 0]),
    "place backwards": one("F32", [2], [8, 0]),
    "place of fractions": one("F32", [2], [0.0, 8.0]),
    "place of words": one("F32", [2], ["0", "8"]),
    "place of NaN": one("F32", [2], [float("nan"), float("nan")]),
    "place of infinity": one("F32", [2], [0, float("inf")]),
    "place of three": one("F32", [2], [0, 8, 8]),
    "place null": one("F32", [2], None),
    "place inside, with gaps": one("F32", [1], [2, 6]),
    "bytes left over": one("F32", [2], [0, 8], body=bytes(9)),
    "tensors overlap": two([0, 8], [4, 8]),
    "tensors share": two([0, 8], [0, 8]),
    "tensors leave a gap": two([0, 0], [4, 8]),
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_damaged_and_cost_no_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(checkpoint.CheckpointError):
            checkpoint.decode(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20 + 20 * len(content)


@pytest.mark.parametrize("shape", [[2**38], [2**20, 2**20], [2**28], [2**32, 2**32, 2]])
def test_a_shape_is_checked_before_anything_is_allocated(
    shape: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for maker in ("empty", "frombuffer"):
        monkeypatch.setattr(torch, maker, lambda *_, **__: pytest.fail("allocated"))
    with pytest.raises(
        checkpoint.CheckpointError, match=re.escape(f"{shape} does not fit bytes 0 to 8")
    ):
        checkpoint.decode(one("F32", shape, [0, 8]))


def test_random_bytes_are_damaged() -> None:
    draw = random.Random(0)
    for _ in range(300):
        content = draw.randbytes(draw.randrange(200))
        for hostile in (content, file(content), file(b'{"' + content + b'":1}')):
            with pytest.raises(checkpoint.CheckpointError):
                checkpoint.decode(hostile)


def test_a_changed_header_gives_tensors_or_damaged_and_nothing_else() -> None:
    content = checkpoint.encode({"a": torch.ones(2, 3), "b": torch.tensor(1)}, {"m": 1})
    head = 8 + int.from_bytes(content[:8], "little")
    draw, refused = np.random.default_rng(0), 0
    for _ in range(2000):
        changed = bytearray(content)
        for at in draw.integers(0, head, size=draw.integers(1, 4)):
            changed[at] = draw.choice(list(b'0123456789-.,:[]{}"eE \xff\x00'))
        try:
            checkpoint.decode(bytes(changed))
        except checkpoint.CheckpointError:
            refused += 1
    assert refused > 1000
