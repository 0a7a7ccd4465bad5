"""Checkpoints come back bit by bit, or not at all: damage of every kind is seen and named."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

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
    weight, flat = torch.randn(8, 3, 3, 3, generator=draw), torch.randn(6, generator=draw)
    return {
        "weight": weight.to(memory_format=torch.channels_last),
        "double": torch.randn(5, generator=draw, dtype=torch.float64),
        "whole": torch.tensor([[-(2**63), 2**63 - 1]]),
        "scalar": torch.tensor(0.1),
        "special": torch.tensor([torch.inf, -torch.inf, -0.0, 1e-45]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "view": flat[:2],
        "another view": flat[2:],
        "large": torch.randn(64, 128, generator=draw),
    }


def test_round_trip() -> None:
    tensors, meta = checkpoint.decode(checkpoint.encode(state(), META))
    assert (tensors.keys(), meta) == (state().keys(), META)
    for name, tensor in state().items():
        assert tensor.dtype == tensors[name].dtype, name
        assert torch.equal(tensor.detach(), tensors[name]), name


def test_equal_state_gives_equal_bytes() -> None:
    dense = {name: tensor.detach().contiguous() for name, tensor in state().items()}
    assert checkpoint.encode(dense, META) == checkpoint.encode(state(), dict(META))
    assert checkpoint.encode(state(1), META) != checkpoint.encode(state(), META)
    assert checkpoint.encode(state(), {**META, "iteration": 13}) != checkpoint.encode(state(), META)


@pytest.mark.parametrize("content", [b"", b"\1\0\0", bytes(8), bytes(100), b"\xff" * 100])
def test_other_bytes_are_no_checkpoint(content: bytes) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="not a checkpoint"):
        checkpoint.decode(content)


def test_the_file_is_named_by_iteration_and_digest(tmp_path: Path) -> None:
    content = checkpoint.encode(state(), META)
    path = checkpoint.save(tmp_path, 12, content)
    assert path.name == f"iteration-00000012-{hashlib.sha256(content).hexdigest()}.safetensors"
    assert path.read_bytes() == content
    assert checkpoint.newest(tmp_path) == content


@pytest.mark.parametrize("iterations", [(4, 8, 12, 16), (99_999_998, 99_999_999, 10**8)])
def test_the_newest_two_are_kept(iterations: tuple[int, ...], tmp_path: Path) -> None:
    other = tmp_path / "iteration-x.safetensors"
    other.touch()
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in iterations]
    assert checkpoint.saved(tmp_path) == paths[-2:]
    assert {*tmp_path.iterdir()} == {*paths[-2:], other}
    assert checkpoint.newest(tmp_path) == b"%d" % iterations[-1]


def test_of_one_iteration_the_later_one_is_the_newest(tmp_path: Path) -> None:
    """Whatever their digests are: a stop saves before a row is measured, the end after it."""
    for number in range(6):
        checkpoint.save(tmp_path, 3, b"3")
        for content in (b"a%d" % number, b"b%d" % number):
            checkpoint.save(tmp_path, 12, content)
            assert checkpoint.newest(tmp_path) == content
        assert len(checkpoint.saved(tmp_path)) == 2


def test_a_disk_that_gives_back_other_bytes_costs_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (4, 8)]
    monkeypatch.setattr(files, "write_atomically", lambda path, _: path.write_bytes(b"1?"))
    with pytest.raises(checkpoint.CheckpointError, match="the disk gave back other bytes"):
        checkpoint.save(tmp_path, 12, b"12")
    assert checkpoint.saved(tmp_path)[:-1] == paths
    assert checkpoint.newest(tmp_path) == b"8"


@pytest.mark.parametrize(("damage", "times"), [(flip, 100), (truncate, 30), (zero, 30)])
def test_damage_is_never_read_and_the_previous_file_is(
    damage: Callable[[bytes, random.Random], bytes], times: int, tmp_path: Path
) -> None:
    older, newer = (checkpoint.encode(state(i), {"iteration": i}) for i in (4, 8))
    checkpoint.save(tmp_path, 4, older)
    path = checkpoint.save(tmp_path, 8, newer)
    draw = random.Random(0)
    for _ in range(times):
        path.write_bytes(damage(newer, draw))
        assert checkpoint.newest(tmp_path) == older
    path.write_bytes(older)  # another one's bytes under this name
    assert checkpoint.newest(tmp_path) == older


def test_all_damaged_is_told_with_each_file_and_what_to_do(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, i, b"%d" % i) for i in (4, 8)]
    for path in paths:
        path.write_bytes(b"?")
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.newest(tmp_path)
    lines = str(caught.value).splitlines()
    reason = "damaged, its SHA-256 is not the one in its name"
    assert lines[:2] == [f"{path}: {reason}" for path in reversed(paths)]
    assert lines[2].endswith(f"remove {tmp_path.parent} to train the run anew")
