"""The device and its settings: which GPU, what torch is set to, how maps lie in memory."""

import dataclasses

import pytest
import torch

from degradation.config.schema import Machine, Numerics, RunConfig
from degradation.config.validation import ConfigError
from degradation.data import digits, loaders
from degradation.data.device_loader import Placement
from degradation.models.resnet import compile_blocks
from degradation.training.devices import device as devices
from degradation.training.devices.cuda_graph import capture_for
from degradation.training.devices.engine import Engine
from degradation.training.state import fresh

CPU = torch.device("cpu")


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine that says it has them; the devices that were set."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def set_device(device: torch.device) -> None:
        if device.index is None:  # as torch's own does
            raise ValueError(f"Expected a torch.device with a specified index, but got:{device}")
        chosen.append(device)

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    return chosen


@pytest.mark.parametrize(
    ("name", "local_rank", "index"),
    [("auto", 0, 0), ("auto", 2, 2), ("auto", 5, 1), ("cuda", 0, 0), ("cuda:3", 0, 3)],
)
def test_a_gpu_is_set_by_its_number(
    name: str, local_rank: int, index: int, four_gpus, small, machine: Machine, monkeypatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    asked = dataclasses.replace(machine, device=name)
    assert devices.apply(asked, small().numerics) == torch.device("cuda", index)
    assert four_gpus == [torch.device("cuda", index)]
    with pytest.raises(ConfigError, match=r"machine\.device=cuda:7: not found.*cpu, cuda:0"):
        devices.resolve("cuda:7")


def use_two_threads(machine: Machine, numerics: Numerics) -> None:
    numerics = dataclasses.replace(numerics, native=True, fused=False)
    devices.apply(dataclasses.replace(machine, threads=2), numerics)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda *_: devices.resolve("cuda"), r"machine\.device=cuda: not found; .* has cpu$"),
        (devices.apply, r"numerics\.fused=true: .*CUDA device \(here cpu\); give"),
        (use_two_threads, r"numerics\.native=true: .*machine.threads=1 \(here 2\)"),
        (lambda *_: capture_for("on", CPU), r"numerics\.graph=on: needs a CUDA device"),
    ],
)
def test_without_a_gpu_what_needs_one_is_refused(
    ask, says: str, small, machine, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.resolve("auto") == CPU
    assert capture_for("auto", CPU) is capture_for("off", CPU) is None
    with pytest.raises(ConfigError, match=says):
        ask(machine, small(numerics__fused=True).numerics)


def engine_of(config: RunConfig) -> Engine:
    return Engine(config.numerics, fresh(config, digits.load(config.data), CPU), CPU)


@pytest.mark.parametrize(
    ("name", "memory_format"),
    [("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)],
)
def test_all_maps_lie_in_memory_as_asked(
    name: str, memory_format: torch.memory_format, small
) -> None:
    config = small(numerics__memory_format=name, model__shortcut="identity", data__pad=1)
    engine, images = engine_of(config), digits.load(config.data)
    place = Placement(CPU, memory_format)
    batches = [
        loaders.train_loader(images, config, place).get_batch(0),
        next(iter(loaders.eval_loaders(images, config, place)["test"])),
    ]
    seen = []
    for module in engine.state.network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda _, x, y: seen.extend([x[0], y]))
    for x, _ in batches:
        engine.state.network(x)
    # Maps of one plane or one pixel, and the matrix product that 2×2 maps take on a CPU, aside.
    maps = [m for m in seen if m.shape[1] > 1 and m.shape[2] > 2]
    assert len(maps) > 20
    assert all(m.is_contiguous(memory_format=memory_format) for m in maps)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """What torch.compile would have compiled: there is no compiler behind it."""
    import torch._dynamo

    torch._dynamo.reset()
    graphs, compile_here = [], torch.nn.Module.compile

    def backend(graph: torch.fx.GraphModule, inputs: object):
        graphs.append(graph)
        return graph.forward

    def compile_module(module: torch.nn.Module, **how: object) -> None:
        compile_here(module, **how | {"backend": backend})

    monkeypatch.setattr(torch.nn.Module, "compile", compile_module)
    return graphs


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shortcut", ["none", "identity"])
def test_compiled_blocks_train_as_the_others_do(
    precision: str, shortcut: str, small, compiled
) -> None:
    """Warnings are errors here, also those inside the compiler."""
    rows = []
    for on in (False, True):
        numerics = {"numerics__compiled": on, "numerics__precision": precision}
        config = small(model__shortcut=shortcut, **numerics)
        engine = engine_of(config)
        loader = loaders.train_loader(digits.load(config.data), config, Placement(CPU))
        for step in range(3):
            engine.train_step(*loader.get_batch(step), lr=0.05)
        loss, _ = engine.evaluate([loader.get_batch(3)], lambda: None)
        rows.append([engine.state.row.mean_loss, loss])
        assert bool(compiled) == on
    assert rows[0] == pytest.approx(rows[1], rel=1e-5)


@pytest.mark.slow
def test_a_few_compilations_serve_any_depth(small, compiled) -> None:
    """More for a deeper network would mean hundreds for 1,202 layers."""
    counts = []
    for depth in (20, 44):
        torch._dynamo.reset()
        compiled.clear()
        network = engine_of(small(model__shortcut="identity", depth=depth)).state.network
        compile_blocks(network)
        for training in (True, False):
            network.train(training)(torch.randn(4, 1, 8, 8))
        counts.append(len(compiled))
    assert counts[0] == counts[1] <= 10
