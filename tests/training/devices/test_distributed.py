"""One run on several processes: the same function, the same bytes over a stop, clean ends."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from degradation.config import compose, validation, world_size
from degradation.config.schema import RunConfig
from degradation.data import sources
from degradation.data.device_loader import DeviceEvalLoader, DeviceLoader, Placement
from degradation.data.loaders import train_loader
from degradation.runs.run_dir import RunDir, runs_in
from degradation.training import checkpoint
from degradation.training.checkpoint import newest
from degradation.training.devices.distributed import ALONE, FlatBuffers, ProcessGroup
from degradation.training.state import State, fresh
from degradation.training.step import train_step
from tests.conftest import Calls, wait_until

CPU = torch.device("cpu")
PLACES = [Placement(CPU, rank=rank, world_size=3) for rank in range(3)]
RUN = (
    *("data=digits", "model=residual", "depth=8", "model.width=4", "model.ghost_batch_size=8"),
    *("recipe.batch_size=32", "recipe.milestones=[200]", "recipe.eval_every=10"),
    *("recipe.iterations=300", "machine.device=cpu", "machine.wandb=disabled"),
    "machine.progress=none",
)
SIZE = 2


def start(folder: Path, *words: str, size: int = SIZE) -> "subprocess.Popen[str]":
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    return subprocess.Popen(
        [sys.executable, *(torchrun if size > 1 else []), "-m", "degradation.run", *RUN, *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")},
    )


def train(folder: Path, *words: str, size: int = SIZE) -> tuple[int, str]:
    process = start(folder, *words, size=size)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def workers(folder: Path) -> dict[int, int]:
    """The processes that train in a folder, by rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"degradation.training.worker" in command and str(folder).encode() in command:
            rank = environment.partition(b"\0RANK=")[2].partition(b"\0")[0]
            found[int(rank)] = int(entry.name)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run trained by two processes, uninterrupted."""
    folder = tmp_path_factory.mktemp("pair")
    status, said = train(folder, f"machine.runs={folder}")
    assert status == 0, said
    return runs_in(folder)[0]


@pytest.mark.slow
def test_two_processes_train_the_function_that_one_does(pair: RunDir, tmp_path: Path) -> None:
    """The same images, groups of batch normalization and running statistics; other roundings."""
    status, said = train(tmp_path, f"machine.runs={tmp_path}", size=1)
    assert status == 0, said
    (alone,) = runs_in(tmp_path)
    assert alone.name == pair.name
    assert len(pair.rows()) == len(alone.rows())
    for ours, theirs in zip(pair.rows()[:2], alone.rows()[:2], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=2e-3)
        assert ours["test_loss"] == pytest.approx(theirs["test_loss"], rel=2e-2)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=5e-2)
    assert pair.rows()[0]["train_error"] == alone.rows()[0]["train_error"]
    assert len(pair.launches_jsonl.read_text().splitlines()) == 1  # one of the two writes
    assert len(pair.timing()) == len(pair.rows()) == 30
    assert json.loads(pair.launches_jsonl.read_text())["fingerprint"]["processes"] == SIZE


@pytest.mark.slow
def test_a_stop_and_a_killed_process_change_no_byte(pair: RunDir, tmp_path: Path) -> None:
    """First one of the two is killed: both ends are clean; then torchrun is asked to stop."""
    place = f"machine.runs={tmp_path}"
    process = start(tmp_path, place)
    (run,) = wait_until(lambda: [r for r in runs_in(tmp_path) if r.rows()])
    os.kill(workers(tmp_path)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    wait_until(lambda: not workers(tmp_path))
    assert run.state() == "failed"
    assert "another process of this run has ended" in (run.failure() or {})["message"]

    process = start(tmp_path, place)
    wait_until(lambda: len(run.launches_jsonl.read_text().splitlines()) == 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    wait_until(lambda: not workers(tmp_path))
    assert run.failure() is None and run.result() is None

    assert train(tmp_path, place)[0] == 0
    assert len(run.launches_jsonl.read_text().splitlines()) == 3
    assert run.curves.read_bytes() == pair.curves.read_bytes()
    assert newest(run.checkpoints) == newest(pair.checkpoints)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("recipe.batch_size=33", "recipe.batch_size=33.*multiple of 2"),
        ("model.ghost_batch_size=null", "size=null(?s:.*)give model.ghost_batch_size=16"),
    ],
)
def test_what_several_cannot_train_is_refused(word: str, says: str) -> None:
    [settings] = compose.runs_of([*RUN, word])
    with pytest.raises(validation.ConfigError, match=says):
        world_size.check(settings.config, 2)


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Two processes that always have the same to say; what they exchanged."""
    exchanged = []

    def all_reduce(tensor: torch.Tensor, *_: object) -> None:
        exchanged.append(tensor)
        tensor *= 2

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    return exchanged


def trained(
    config: RunConfig, group: ProcessGroup, steps: int = 3
) -> tuple[State, Callable[[int], None]]:
    """The state after some steps, and what does a step of it."""
    images = sources.load(config.data)
    state, loader = fresh(config, images, CPU, group), train_loader(images, config, Placement(CPU))

    def step(number: int) -> None:
        train_step(state, *loader.get_batch(number), config.numerics.precision)

    for number in range(steps):
        step(number)
    return state, step


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_flat_gradients_are_the_gradients(
    optimizer: str, memory_format: str, twins: list[torch.Tensor], small
) -> None:
    """One exchange of them a step, and a small one of loss and errors."""
    changes = {"recipe__optimizer": optimizer, "numerics__memory_format": memory_format}
    config = small(**changes, model__shortcut="identity")
    alone, both = trained(config, ALONE)[0], trained(config, ProcessGroup(0, 2))[0]
    assert both.flat is not None
    assert [len(tensor) for tensor in twins] == 3 * [len(both.flat.gradients), 2]
    for (name, parameter), twin in zip(
        alone.network.named_parameters(), both.network.parameters(), strict=True
    ):
        assert torch.equal(parameter, twin), name
        assert twin.grad is not None and twin.grad.stride() == twin.stride()
        assert twin.grad.untyped_storage().data_ptr() == both.flat.gradients.data_ptr()
    for name, buffer in alone.network.named_buffers():
        assert torch.equal(buffer, both.network.get_buffer(name)), name


def calls_of_a_step(config: RunConfig, group: ProcessGroup) -> Counter[str]:
    step = trained(config, group, steps=0)[1]
    with Calls() as calls:
        step(0)
    return calls.count


def test_several_processes_copy_no_gradient(twins: list[torch.Tensor], small) -> None:
    """What a step of two costs beside one alone does not grow with depth, but for the addition by
    which autograd writes a gradient into the flat buffer."""
    more = []
    for depth in (8, 14):
        config = small(depth=depth, model__shortcut="identity")
        both = calls_of_a_step(config, ProcessGroup(0, 2))
        more.append(both - calls_of_a_step(config, ALONE))
        del more[-1]["add_"]
    assert more[0] == more[1]
    assert not {name for name in more[1] if "clone" in name or "cat" in name}


def test_a_checkpoint_has_mean_running_statistics_and_each_processs_own(
    monkeypatch: pytest.MonkeyPatch, small
) -> None:
    """The means serve whoever reads the network; with its own, a process goes on bit by bit."""
    config, group = small(), ProcessGroup(1, 2)
    state, _ = trained(config, ALONE)
    assert state.flat is None
    state.flat = FlatBuffers.of(state.network)
    own = state.flat.running_stats.clone()
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(3 * own))
    monkeypatch.setattr(
        torch.distributed, "all_gather", lambda out, own: [out[0].copy_(3 * own), out[1].copy_(own)]
    )
    state.group = group
    assert state.to_bytes(config, {}) is None
    state.group = ProcessGroup(0, 2)
    content = state.to_bytes(config, {})
    assert content is not None
    assert torch.equal(state.flat.running_stats, own)
    tensors, meta = checkpoint.decode(content)
    mean = state.network.norm.running_mean * 2
    assert torch.equal(tensors["network.norm.running_mean"], mean)
    other = fresh(config, sources.load(config.data), CPU, group)
    other.load(tensors, meta)
    assert other.flat is not None
    assert torch.equal(other.flat.running_stats, own)


def test_shares_of_a_batch_make_the_batch(small) -> None:
    config = small(data__pad=1, data__flip=True, recipe__batch_size=6)
    images = sources.load(config.data)
    whole = DeviceLoader(images, config, Placement(CPU))
    shares = [DeviceLoader(images, config, place) for place in PLACES]
    assert len({stream.digest() for stream in [whole, *shares]}) == 1
    for iteration in (0, 239):  # the second lies across two epochs
        parts = [stream.get_batch(iteration) for stream in shares]
        for column, ours in zip(whole.get_batch(iteration), zip(*parts, strict=True), strict=True):
            assert torch.equal(column, torch.cat(ours))


def test_shares_of_an_evaluation_set_have_every_image_once(small) -> None:
    images = sources.load(small().data)
    shares = [DeviceEvalLoader(images, "test", place, batch_size=7) for place in PLACES]
    labels = torch.cat([labels for share in shares for _, labels in share])
    assert np.bincount(labels.numpy()).tolist() == np.bincount(images.test.labels).tolist()
