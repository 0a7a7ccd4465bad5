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
from degradation.runs.run_dir import RunDir
from degradation.training import setup
from degradation.training.devices import engine as engines
from degradation.training.devices.cuda_graph import CudaGraph
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
    "warm-up": {"recipe__warmup_min_depth": 8, "recipe__warmup_error": 90},
    "nesterov": {"recipe__nesterov": True, "recipe__weight_decay_on_norm": False},
    "adamw": {"recipe__optimizer": "adamw", "recipe__lr": 0.001},
    "ghost batches": {"model__ghost_batch_size": 4},
    "no norm": {"model__norm": False, "model__shortcut": "identity", "recipe__lr": 0.001},
    "projection": {"model__shortcut": "projection_all", "model__width": 8},
    "bottleneck": {"model__design": "bottleneck", "model__width": 8, "depth": 11},
    "bf16": {"numerics__precision": "bf16"},
}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """In whose streams all work is that of tensors on the CPU."""
    return Cuda(GPU).install(monkeypatch)


@pytest.fixture
def pair(cuda: Cuda, machine, tmp_path: Path, monkeypatch) -> Callable[..., list[RunDir]]:
    """Trains the same run with launched steps, and with a graph's."""

    def train(config: RunConfig, machine=machine) -> list[RunDir]:
        runs = []
        for name, capture in (("launched", None), ("captured", CudaGraph)):
            monkeypatch.setattr(setup, "capture_for", lambda *_, capture=capture: capture)
            runs.append(train_here(config, machine, tmp_path / name))
        return runs

    return train


@pytest.mark.parametrize("name", VARIANTS)
def test_a_graphs_bytes_are_those_of_launched_steps(name: str, pair, cuda: Cuda, small) -> None:
    """Over 60 iterations, with another learning rate from the 26th on."""
    launched, replayed = pair(small(**LONG, **VARIANTS[name]))
    assert bits(replayed) == bits(launched)
    [capture] = cuda.captures
    assert capture.replays == 60


def test_layer_statistics_and_a_stop_change_no_byte(pair, small, machine, tmp_path: Path) -> None:
    config = small(**LONG)
    launched, replayed = pair(config, dataclasses.replace(machine, log_layers_every=1))
    assert bits(replayed) == bits(launched)
    assert replayed.layers.read_bytes() == launched.layers.read_bytes()
    for looks in (2, 31):
        cut = train_here(config, machine, tmp_path / f"cut{looks}", After(looks))
        assert bits(cut) == bits(launched)


def wait_for_a_number(state: State) -> None:
    state.row.loss.item()


def make_the_rate_on_the_host(state: State) -> None:
    learning_rate_tensor(state.optimizer).copy_(torch.tensor(0.05))


def take_the_rate_from_python(state: State) -> None:
    learning_rate_tensor(state.optimizer).fill_(0.05 * 0.1 ** (state.iteration // 25))


def count_in_python(state: State) -> None:
    state.row.errors += state.iteration


def also(wrong: Callable[[State], None]) -> Callable[..., None]:
    """A step with a mistake in it."""
    step = engines.train_step

    def wrong_step(state: State, *rest: Any) -> None:
        wrong(state)
        step(state, *rest)

    return wrong_step


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(wait_for_a_number, "waits for the device"), (make_the_rate_on_the_host, "made on the host")],
)
def test_what_cannot_be_captured_is_caught(wrong, says: str, pair, small, monkeypatch) -> None:
    monkeypatch.setattr(engines, "train_step", also(wrong))
    with pytest.raises(CaptureError, match=says):
        pair(small())


@pytest.mark.parametrize("wrong", [take_the_rate_from_python, count_in_python])
def test_a_number_that_python_has_in_the_step_is_caught(wrong, pair, small, monkeypatch) -> None:
    monkeypatch.setattr(engines, "train_step", also(wrong))
    launched, replayed = pair(small(**LONG))
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
