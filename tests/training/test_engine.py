"""The engine: tables, recordings that are played again, compiled blocks; on a GPU, real graphs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from degradation.config import schema, validation
from degradation.models import resnet
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop, Stopped
from degradation.training import (
    checkpoint,
    loop,
    setup,
    worker,
)
from degradation.training.devices import engine
from degradation.training.devices.engine import Record
from degradation.training.devices.interleave import finish


class Tape:
    """Records without a GPU: what is played again is the same work on the same tensors."""

    def __init__(self) -> None:
        self.plays: list[int] = []

    def record(self, work: engine.Work, changed: list[Tensor]) -> engine.Work:
        """As a GPU does it: trial runs first, whose traces are wiped out."""
        before = [tensor.clone() for tensor in changed]
        work()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        number = len(self.plays)
        self.plays.append(0)

        def play() -> None:
            self.plays[number] += 1
            work()

        return play


def trained(
    config: schema.RunConfig, machine: schema.Machine, folder: Path, record: Record | None,
    monkeypatch: pytest.MonkeyPatch, stops: Callable[[], bool] | None = None,
) -> RunDir:  # fmt: skip
    monkeypatch.setattr(setup, "record_for", lambda graph, device: record)
    run = RunDir(folder / config.name)
    run.create(config)
    if stops is not None:
        with pytest.raises(Stopped):
            finish(loop.train(setup.prepare(run, machine, stops)))  # type: ignore[arg-type]
    finish(worker.work(run, machine, Stop()))
    return run


def bits(run: RunDir) -> tuple[bytes, bytes | None]:
    return run.curves.read_bytes(), checkpoint.newest(run.checkpoints)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__shortcut": "identity"},
        {"recipe__warmup_min_depth": 8, "recipe__warmup_error": 90},
        {"recipe__warmup_min_depth": 8, "recipe__warmup_error": 0.001},
        {"data__val_size": 38, "recipe__nesterov": True, "recipe__weight_decay_on_norm": False},
    ],
)
def test_played_from_a_recording_a_run_has_the_same_bytes(
    changes: dict[str, object], small, machine, tmp_path: Path, monkeypatch
) -> None:
    """Through rows, drops and the warm-up, with 8 iterations a recording and single ones."""
    long = {"recipe__iterations": 60, "recipe__milestones": [25, 47], "recipe__eval_every": 20}
    config = small(**long, recipe__warmup_window=5, **changes)
    launched = trained(config, machine, tmp_path / "launched", None, monkeypatch)
    tape = Tape()
    played = trained(config, machine, tmp_path / "played", tape.record, monkeypatch)
    assert bits(played) == bits(launched)
    assert max(tape.plays) > 3 or changes.get("recipe__warmup_error") == 0.001


@pytest.mark.parametrize("looks", [2, 5, 9])
def test_stopped_between_recordings_it_goes_on_to_the_same_bytes(
    looks: int, small, machine, tmp_path: Path, monkeypatch
) -> None:
    config = small(recipe__iterations=60, recipe__milestones=[30], recipe__eval_every=20)
    whole = trained(config, machine, tmp_path / "whole", Tape().record, monkeypatch)
    left = iter([False] * looks)
    cut = trained(config, machine, tmp_path / "cut", Tape().record, monkeypatch,
                  stops=lambda: next(left, True))  # fmt: skip
    assert bits(cut) == bits(whole)


def test_a_graph_where_there_is_no_gpu_is_refused_or_left_out() -> None:
    cpu = torch.device("cpu")
    assert engine.record_for("auto", cpu) is engine.record_for("off", cpu) is None
    with pytest.raises(validation.ConfigError, match=r"numerics\.graph=on: needs a CUDA device"):
        engine.record_for("on", cpu)


@pytest.mark.usefixtures("deaf")
def test_two_points_by_turns_have_the_bytes_of_their_solo_runs(small, machine, tmp_path) -> None:
    configs = [small(), small(model__shortcut="identity"), small(seed=3)]
    for place in ("solo", "packed"):
        for config in configs:
            RunDir(tmp_path / place / config.name).create(config)
    folders = {p: [str(tmp_path / p / x.name) for x in configs] for p in ("solo", "packed")}

    packed = json.dumps(schema.plain(machine) | {"pack": 2})
    for folder in folders["solo"]:
        assert worker.main([folder, json.dumps(schema.plain(machine))]) == 0
    assert worker.main([*folders["packed"], packed]) == 0
    for solo, other in zip(folders["solo"], folders["packed"], strict=True):
        assert bits(RunDir(Path(solo))) == bits(RunDir(Path(other)))
        own = Path(other).name.rpartition("-")[0]
        assert all(own in line for line in RunDir(Path(other)).log.read_text().splitlines())


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_few_compilations_serve_any_depth(small, monkeypatch) -> None:
    """Counted with a backend that compiles nothing; more would mean more for 1,202 layers."""
    import torch._dynamo

    compiled: list[int] = []

    def backend(graph, inputs):
        compiled.append(1)
        return graph.forward

    counts = []
    for depth in (20, 44):
        torch._dynamo.reset()
        compiled.clear()
        state = _compiled(small(model__shortcut="identity", depth=depth), backend, monkeypatch)
        for training in (True, False):
            state.network.train(training)(torch.randn(4, 1, 8, 8))
        counts.append(len(compiled))
    assert counts[0] == counts[1] <= 10


def _compiled(config: schema.RunConfig, backend: object, monkeypatch):
    from torch import nn

    from degradation.training.state import State
    from degradation.training.step import Meters

    plain_compile = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: plain_compile(self, backend=backend, **how)
    )
    net = resnet.build(config.model, config.depth, 1, 10, 0, "fan_in")
    cpu = torch.device("cpu")
    meters = Meters.new(cpu)
    state = State(net, None, meters, meters, torch.zeros(()))  # type: ignore[arg-type]
    engine.compile_blocks(state)
    monkeypatch.undo()
    return state
