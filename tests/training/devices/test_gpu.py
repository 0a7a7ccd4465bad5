"""On a real GPU: a graph's bits are those of launched kernels, packed or alone, cut or whole."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from degradation.config import schema
from degradation.training.devices import device as devices
from degradation.training.devices.synthetic_run import ENGINES, SyntheticRun, noise
from tests.conftest import After
from tests.training.train_here import bits, created, train_here, work

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
LONG = {"recipe__iterations": 60, "recipe__milestones": [25, 47], "recipe__eval_every": 20}
ARMS = [{"model__shortcut": arm, "model__width": 16} for arm in ("none", "identity")]
WARMUP = {"recipe__warmup_min_depth": 8, "recipe__warmup_error": 95, "recipe__warmup_window": 5}


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    """What earlier tests compiled would count towards the limit of recompilations."""
    import torch._dynamo

    yield
    torch._dynamo.reset()


@pytest.fixture
def gpu(machine: schema.Machine) -> schema.Machine:
    return dataclasses.replace(machine, device="cuda")


@pytest.mark.parametrize("arm", ARMS, ids=["plain", "residual"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"numerics__precision": "bf16"},
        {"numerics__compiled": True},
        {"numerics__compiled": True, "numerics__precision": "bf16"},
        {"numerics__memory_format": "contiguous"},
        {"numerics__fused": True, "numerics__precision": "bf16"},
        {"recipe__optimizer": "adamw", "recipe__lr": 0.001},
        {"model__ghost_batch_size": 8},
    ],
    ids=lambda changes: " ".join(str(value) for value in changes.values()) or "fp32",
)
def test_a_graphs_bits_are_those_of_launched_kernels(
    arm: dict[str, object], changes: dict[str, object], small, gpu, tmp_path: Path
) -> None:
    """60 iterations, two drops of the learning rate, and the end of the warm-up."""
    runs = [
        train_here(small(**LONG, **WARMUP, **arm, **changes, numerics__graph=graph), gpu, folder)
        for graph, folder in (("off", tmp_path / "off"), ("on", tmp_path / "on"))
    ]
    assert bits(runs[0]) == bits(runs[1])


@pytest.mark.parametrize("looks", [3, 11, 30])
def test_a_run_cut_between_replays_goes_on_to_the_same_bits(
    looks: int, small, gpu, tmp_path: Path
) -> None:
    config = small(**LONG, **ARMS[1])
    whole = train_here(config, gpu, tmp_path / "whole")
    cut = train_here(config, gpu, tmp_path / "cut", After(looks))
    assert bits(cut) == bits(whole)


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("graph", ["on", "off"])
def test_packed_runs_have_the_bits_of_their_solo_runs(
    graph: str, small, gpu, tmp_path: Path
) -> None:
    configs = [
        small(**LONG, **arm, seed=seed, numerics__graph=graph) for arm in ARMS for seed in range(3)
    ]
    solo = [train_here(config, gpu, tmp_path / "solo") for config in configs]
    packed = [created(config, gpu, tmp_path / "packed") for config in configs]
    assert work(packed, gpu, at_once=4) == 0
    assert [bits(run) for run in packed] == [bits(run) for run in solo]


def test_deep_networks_share_their_blocks_compilations(small, gpu, tmp_path: Path) -> None:
    """Past the limit of recompilations it would raise."""
    for depth in (20, 110):
        config = small(depth=depth, numerics__compiled=True, **ARMS[1])
        train_here(config, gpu, tmp_path)


@pytest.mark.parametrize(("name", "limit"), [("graph", 16e9), ("fast", 8e9), ("fused", 8e9)])
def test_1202_layers_fit(name: str, limit: float, small, gpu) -> None:
    """With the paper's batch of CIFAR-10's images; in float32 and in bfloat16."""
    of_cifar10 = {"data__pad": 4, "data__flip": True, "recipe__batch_size": 128}
    config = small(depth=1202, **ARMS[1], **of_cifar10)
    config = dataclasses.replace(config, numerics=ENGINES[name])
    device = devices.apply(gpu, config.numerics)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run = SyntheticRun(config, noise(1000), device)
    run.train(2)
    assert torch.cuda.max_memory_reserved(device) < limit
    run.engine.close()
