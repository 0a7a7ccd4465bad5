"""On a real GPU: a graph's bits are those of launched kernels, packed or alone, cut or whole."""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from degradation.config import compose, schema
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop, Stopped
from degradation.training import (
    checkpoint,
    loop,
    setup,
    synthetic_run,
    worker,
)
from degradation.training.devices.interleave import finish

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
LONG = {"recipe__iterations": 60, "recipe__milestones": [25, 47], "recipe__eval_every": 20}
ARMS = [{"model__shortcut": arm, "model__width": 16} for arm in ("none", "identity")]


@pytest.fixture
def gpu(machine: schema.Machine) -> schema.Machine:
    return dataclasses.replace(machine, device="cuda")


def bits(run: RunDir) -> tuple[bytes, bytes]:
    """The rows, and every tensor of the last checkpoint."""
    content = checkpoint.newest(run.checkpoints)
    assert content is not None
    tensors, _ = checkpoint.decode(content)
    return run.curves.read_bytes(), checkpoint.encode(tensors, {})


def trained(
    config: schema.RunConfig,
    gpu: schema.Machine,
    folder: Path,
    stop: Callable[[], bool] | None = None,
) -> RunDir:
    run = RunDir(folder / config.name)
    run.create(config)
    if stop is not None:
        with pytest.raises(Stopped):
            finish(loop.train(setup.prepare(run, gpu, stop)))  # type: ignore[arg-type]
    finish(worker.work(run, gpu, Stop()))
    return run


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize(
    "numerics",
    [
        {},
        {"numerics__precision": "bf16"},
        {"numerics__compiled": True},
        {"numerics__compiled": True, "numerics__precision": "bf16"},
    ],
)
def test_a_graphs_bits_are_those_of_launched_kernels(
    arm: dict[str, object], numerics: dict[str, object], small, gpu, tmp_path: Path
) -> None:
    """60 iterations, two drops, the warm-up's end; with momentum from the first one on."""
    warm = {"recipe__warmup_min_depth": 8, "recipe__warmup_error": 95, "recipe__warmup_window": 5}
    runs = [
        trained(
            small(**LONG, **warm, **arm, **numerics, numerics__graph=graph), gpu, tmp_path / graph
        )
        for graph in ("off", "on")
    ]
    assert bits(runs[0]) == bits(runs[1])


@pytest.mark.parametrize("looks", [3, 11, 30])
def test_a_run_cut_between_replays_goes_on_to_the_same_bits(
    looks: int, small, gpu, tmp_path: Path
) -> None:
    config = small(**LONG, **ARMS[1])
    whole = trained(config, gpu, tmp_path / "whole")
    left = iter([False] * looks)
    cut = trained(config, gpu, tmp_path / "cut", stop=lambda: next(left, True))
    assert bits(cut) == bits(whole)


@pytest.mark.parametrize("graph", ["on", "off"])
def test_packed_runs_have_the_bits_of_their_solo_runs(
    graph: str, small, gpu, tmp_path: Path
) -> None:
    configs = [
        small(**LONG, **arm, seed=s, numerics__graph=graph) for arm in ARMS for s in range(3)
    ]
    solo = [trained(config, gpu, tmp_path / "solo") for config in configs]
    packed = [RunDir(tmp_path / "packed" / config.name) for config in configs]
    for run, config in zip(packed, configs, strict=True):
        run.create(config)
    together = json.dumps(schema.plain(dataclasses.replace(gpu, pack=4)))
    assert worker.main([*(str(run.folder) for run in packed), together]) == 0
    assert [bits(run) for run in packed] == [bits(run) for run in solo]


def test_deep_networks_share_their_blocks_compilations(small, gpu, tmp_path: Path) -> None:
    """Past the limit of recompilations it would raise."""
    for depth in (20, 110):
        trained(small(depth=depth, numerics__compiled=True, **ARMS[1]), gpu, tmp_path)


@pytest.mark.parametrize(("engine", "limit"), [("graph", 16e9), ("fast", 8e9)])
def test_1202_layers_fit(engine: str, limit: float) -> None:
    [asked] = compose.runs_of(["model=residual", "depth=1202"])
    config = asked.config
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    device = torch.device("cuda")
    numerics = synthetic_run.ENGINES[engine]
    ours = synthetic_run.SyntheticRun(
        dataclasses.replace(config, numerics=numerics), synthetic_run.noise(1000), device
    )
    ours.train(2)
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_reserved() < limit
