"""A step as a CUDA graph: the bytes of launched steps, and CUDA's rules, by a strict stand-in."""

import dataclasses
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from degradation.config.schema import RunConfig
from degradation.data import loaders
from degradation.data.device_loader import Placement
from degradation.training import setup
from degradation.training.devices import engine as engines
from degradation.training.devices.cuda_graph import WARMUPS, CudaGraph
from degradation.training.devices.distributed import LostError
from degradation.training.devices.engine import LEAD, Engine
from degradation.training.devices.interleave import Steps, interleave
from degradation.training.devices.synthetic_run import noise
from degradation.training.optimizer import learning_rate_tensor
from degradation.training.state import State, fresh
from tests.conftest import After
from tests.training.devices.cuda_stand_in import CaptureError, Cuda, storage_of
from tests.training.train_here import bits, train_here

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
LONG = {"recipe__iterations": 60, "recipe__milestones": [25], "recipe__eval_every": 60}
VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {"model__shortcut": "identity"},
    "warm-up": {
        "recipe__warmup_min_depth": 8,
        "recipe__warmup_error": 90,
        "recipe__warmup_window": 5,
    },
    "nesterov": {"recipe__nesterov": True, "recipe__weight_decay_on_norm": False},
    "adamw": {"recipe__optimizer": "adamw", "recipe__lr": 0.001},
    "ghost batches": {"model__ghost_batch_size": 4},
    "no norm": {"model__norm": False, "model__shortcut": "identity", "recipe__lr": 0.001},
    "projection": {"model__shortcut": "projection", "model__width": 8},
    "bottleneck": {
        "model__design": "bottleneck",
        "model__shortcut": "projection_all",
        "model__width": 8,
        "depth": 11,
    },
    "bf16": {"numerics__precision": "bf16"},
}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """In whose streams all work is that of tensors on the CPU."""
    return Cuda(GPU).install(monkeypatch)


@pytest.fixture
def captured(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Each run captures its step."""
    monkeypatch.setattr(setup, "capture_for", lambda graph, device: CudaGraph)
    return cuda


def pair_of_runs(config: RunConfig, machine, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The same run with launched steps, and with a graph's."""
    with monkeypatch.context() as launching:
        launching.setattr(setup, "capture_for", lambda graph, device: None)
        launched = train_here(config, machine, folder / "launched")
    return launched, train_here(config, machine, folder / "captured")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_graphs_bytes_are_those_of_launched_steps(
    name: str, captured: Cuda, small, machine, tmp_path: Path, monkeypatch
) -> None:
    """Over 60 iterations, with another learning rate from the 26th on."""
    config = small(**LONG, **VARIANTS[name])
    launched, replayed = pair_of_runs(config, machine, tmp_path, monkeypatch)
    assert bits(replayed) == bits(launched)
    [capture] = captured.captures
    assert capture.replays == 60


def test_layer_statistics_and_a_stop_change_no_byte(
    captured: Cuda, small, machine, tmp_path: Path, monkeypatch
) -> None:
    looking = dataclasses.replace(machine, log_layers_every=1)
    config = small(**LONG)
    launched, replayed = pair_of_runs(config, looking, tmp_path, monkeypatch)
    assert bits(replayed) == bits(launched)
    assert replayed.layers.read_bytes() == launched.layers.read_bytes()
    for looks in (2, 31):
        cut = train_here(config, machine, tmp_path / f"cut{looks}", After(looks))
        assert bits(cut) == bits(launched)


def waiting_step(step: Callable[..., None]) -> Callable[..., None]:
    """Asks for the loss in the middle of the step."""

    def waiting(state: State, *rest: Any) -> None:
        step(state, *rest)
        state.row.loss.item()

    return waiting


def host_step(step: Callable[..., None]) -> Callable[..., None]:
    """Makes the learning rate on the host, in the step."""

    def host(state: State, *rest: Any) -> None:
        learning_rate_tensor(state.optimizer).copy_(torch.tensor(0.05))
        step(state, *rest)

    return host


@pytest.mark.parametrize(
    ("change", "says"), [(waiting_step, "waits for the device"), (host_step, "made on the host")]
)
def test_what_cannot_be_captured_is_caught(
    change: Callable[..., Any], says: str, captured: Cuda, small, machine, monkeypatch
) -> None:
    monkeypatch.setattr(engines, "train_step", change(engines.train_step))
    with pytest.raises(CaptureError, match=says):
        train_here(small(), machine)


def frozen_rate(step: Callable[..., None]) -> Callable[..., None]:
    """Takes the learning rate as a number of Python's."""

    def frozen(state: State, *rest: Any) -> None:
        lr = learning_rate_tensor(state.optimizer)
        lr.fill_(0.05 * 0.1 ** (state.iteration // 25))
        step(state, *rest)

    return frozen


def counting(step: Callable[..., None]) -> Callable[..., None]:
    """Counts its calls in Python."""
    calls = [0]

    def counted(state: State, *rest: Any) -> None:
        step(state, *rest)
        calls[0] += 1
        state.row.errors += calls[0] - calls[0] // 2

    return counted


@pytest.mark.parametrize("change", [frozen_rate, counting])
def test_a_number_that_python_has_in_the_step_is_caught(
    change: Callable[..., Any], captured: Cuda, small, machine, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(engines, "train_step", change(engines.train_step))
    launched, replayed = pair_of_runs(small(**LONG), machine, tmp_path, monkeypatch)
    assert bits(replayed) != bits(launched)


class Trainer:
    """An engine and its batches, on the CPU; the engine takes its device for `device`."""

    def __init__(self, config: RunConfig, device: torch.device = CPU, graph: bool = True) -> None:
        images = noise(64, side=16, channels=1)
        self.state = fresh(config, images, CPU)
        self.loader = loaders.train_loader(images, config, Placement(CPU))
        self.engine = Engine(config.numerics, self.state, device, CudaGraph if graph else None)

    def step(self) -> None:
        self.engine.train_step(*self.loader.get_batch(self.state.iteration), lr=0.05)
        self.state.iteration += 1


@pytest.mark.parametrize(("shortcut", "most"), [("none", 6.0), ("identity", 7.0)])
def test_a_layer_costs_so_many_kernels(shortcut: str, most: float, cuda: Cuda, small) -> None:
    """Forward and backward; the optimizer is one call for all layers, and nothing is filled.

    Autograd copies the gradients here, as the tape holds on to them: those calls are left out.
    """
    tapes = []
    for depth in (8, 14):
        trainer = Trainer(small(model__shortcut=shortcut, depth=depth))
        trainer.step()
        tapes.append(cuda.captures[-1].tape)
        trainer.engine.close()
    copies = {"aten::new_empty_strided", "aten::copy_"}
    kernels = [sum(n for name, n in t.kernels.items() if name not in copies) for t in tapes]
    fills = [sum(tape.kernels[n] for n in tape.kernels if "fill" in n) for tape in tapes]
    assert (kernels[1] - kernels[0]) / 6 <= most
    assert fills[0] == fills[1] <= 2


def test_a_graph_reads_and_writes_nothing_that_could_move(cuda: Cuda, small) -> None:
    """But the state, the static batch and constants: other storage might be freed, and reused."""
    trainer = Trainer(small(model__shortcut="identity"))
    for _ in range(3):
        trainer.step()
    step: Any = trainer.engine.step
    known = [*trainer.state.tensors().values(), step.x, step.y]
    [capture] = cuda.captures
    assert capture.tape.found.keys() <= {storage_of(tensor) for tensor in known}


def test_the_warm_up_leaves_no_trace(cuda: Cuda, small) -> None:
    launched, captured = Trainer(small(), graph=False), Trainer(small())
    for trainer in (launched, captured):
        trainer.step()
    theirs = captured.state.tensors()
    for name, tensor in launched.state.tensors().items():
        assert torch.equal(tensor, theirs[name]), name
    assert WARMUPS > 0


def test_interleaved_runs_have_a_stream_each_and_one_graph_on_it(cuda: Cuda, small) -> None:
    """Six runs, two at a time: torch's 32 streams would soon be shared otherwise."""
    used: list[set[int]] = []

    def run(seed: int) -> Steps[int]:
        trainer, number, streams = Trainer(small(seed=seed)), len(used), set[int]()
        used.append(streams)
        for _ in range(3):
            trainer.step()
            streams |= {id(cuda.current), id(cuda.captures[number].stream)}
            yield trainer.engine.ready
        trainer.engine.close()
        return 0

    assert interleave([(run(seed), 1 / 2) for seed in range(6)], GPU) == [0] * 6
    assert all(len(streams) == 1 for streams in used)
    assert len(cuda.streams) == 2
    assert len(cuda.captures) == 6


def test_a_closed_engine_frees_its_graph_at_once(cuda: Cuda, small) -> None:
    """Freed by a later garbage collection, it would clear the workspace of another's stream."""
    trainer = Trainer(small())
    trainer.step()
    gc.collect()
    gc.disable()
    try:
        assert len(cuda.living) == 1
        trainer.engine.close()
        assert not cuda.living
    finally:
        gc.enable()


def test_the_host_is_a_few_steps_ahead_at_most(cuda: Cuda, small) -> None:
    cuda.behind = 40
    trainer = Trainer(small(), GPU, graph=False)
    for _ in range(LEAD):
        assert trainer.engine.ready()
        trainer.step()
    assert not trainer.engine.ready()
    trainer.step()
    assert cuda.queries > 40
    assert len(trainer.engine.launched) == LEAD
    trainer.engine.finish()
    assert not trainer.engine.launched


def test_a_device_that_never_finishes_is_reported(cuda: Cuda, small, monkeypatch) -> None:
    """A peer that died inside an all-reduce leaves it so."""
    cuda.behind = 10**9
    monkeypatch.setattr(engines, "PATIENCE", engines.PATIENCE * 0)
    trainer = Trainer(small(), GPU, graph=False)
    with pytest.raises(LostError, match="cuda:1 has not finished a step"):
        for _ in range(LEAD + 1):
            trainer.step()
