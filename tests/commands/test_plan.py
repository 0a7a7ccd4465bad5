"""Plans: what is counted is what a run really has; what is not known is said."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch

from degradation.commands import estimate, plan, probe
from degradation.commands.probe import Speed
from degradation.config import compose, schema, validation
from degradation.data import cifar10, digits, sources
from degradation.models import cost, resnet
from degradation.runs.progress import of_configs
from degradation.runs.run_dir import RunDir
from degradation.training.devices import synthetic_run
from degradation.training.state import fresh

CPU = torch.device("cpu")


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection", "projection_all"])
def test_parameters_are_counted_as_torch_does(small, shortcut: str) -> None:
    config = small(depth=20, model__shortcut=shortcut, model__width=8)
    with torch.device("meta"):
        net = resnet.Network(config.model, 20, 1, 10)
    assert estimate.work(config).parameters == resnet.count_parameters(net)


def test_shapes_are_those_of_the_data(small) -> None:
    found, shape = sources.load(small().data), estimate.SHAPES["digits"]
    assert (shape.train, shape.test) == (len(found.train), len(found.test))
    assert shape.image == (digits.SIDE, 1, found.classes)
    assert estimate.SHAPES["cifar10"].image == (cifar10.SIDE, cifar10.CHANNELS, cifar10.CLASSES)


def test_disk_is_what_checkpoints_take(small) -> None:
    config = small(depth=56, model__width=16)
    state = fresh(config, synthetic_run.noise(4, 8, 1), CPU)
    assert estimate.disk(config) == pytest.approx(2 * state.size, rel=0.03)


def test_memory_is_what_the_backward_pass_keeps(small) -> None:
    """Counted by a hook on every tensor that is saved for it."""
    config = small(depth=20, model__width=16, model__shortcut="identity", recipe__batch_size=16)
    state = fresh(config, synthetic_run.noise(4, 8, 1), CPU)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = state.network(torch.zeros(16, 1, 8, 8).to(memory_format=torch.channels_last))
    del logits
    optimizer = 2 * sum(p.nbytes for p in state.network.parameters())
    assert estimate.memory(config) <= sum(kept.values()) + optimizer < 1.2 * estimate.memory(config)


def test_1202_layers_at_batch_128_fit_into_16_gb() -> None:
    assert 11e9 < cost.work(1202).memory(128, bytes_each=4) < 16e9


def test_evaluations_are_counted_to_the_end(small) -> None:
    """Rows at 4, 6, 8, 9, 12 (see conftest); the training set too at 6, 9 and 12."""
    config = small(data__val_size=100)
    test, train = 359 + 100, 1438 - 100
    assert estimate.evaluated_images(config, 0) == 5 * test + 3 * train
    assert estimate.evaluated_images(config, 8) == 2 * test + 2 * train
    assert estimate.evaluated_images(config, 12) == 0


AXES = ["-m", "data=digits", "recipe.iterations=40", "recipe.milestones=[20]", "depth=8,14",
        "model=plain,residual", "seed=0,1"]  # fmt: skip


@pytest.fixture
def begun(tmp_path: Path) -> list[str]:
    """The words of a study with one run done and one at a quarter."""
    words = [*AXES, f"machine.runs={tmp_path}"]
    settings = compose.runs_of(words)
    for one, result in zip(settings, ('{"outcome": "done"}', ""), strict=False):
        run = RunDir.of(one.config, tmp_path)
        run.create(one.config)
        run.curves.write_text('{"iteration": 10, "train_error": 1, "test_error": 1}\n')
        if result:
            run.done_json.write_text(result)
    return words


def test_a_plan_counts_what_is_done_and_left(begun, capsys, monkeypatch) -> None:
    monkeypatch.setattr(probe, "speed", pytest.fail)
    assert plan.main(["--no-probe", *begun]) == 0
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines()[1:6]]
    assert [row[:3] for row in table[:4]] == [
        ["digits", arm, depth] for depth in ("8", "14") for arm in ("plain", "residual")
    ]
    assert table[0][3:7] == ["40", "2", "1", "1"]
    assert table[4][:4] == ["all", "8", "1", "1"]
    assert "hours: not measured" in out


def test_hours_are_operations_over_the_measured_rate(begun, capsys, monkeypatch) -> None:
    flops = 0.0
    for one in compose.runs_of(begun):
        done = (
            {0: 40, 1: 10}.get(one.config.seed, 0)
            if one.config.label.startswith("digits-plain-8-")
            else 0
        )
        flops += estimate.remaining_flops(one.config, done)
    monkeypatch.setattr(probe, "speed", lambda left, timeout: Speed("a thing", flops / 7200))
    assert plan.main(begun) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if line.startswith("all")).split()[-1] == "2"
    assert "a thing" in out


@pytest.mark.parametrize(("fault", "status"), [("times out", 0), ("is refused", 1)])
def test_what_is_not_known_is_said(begun, capsys, monkeypatch, fault: str, status: int) -> None:
    def ask(*arguments: object) -> None:
        if fault == "times out":
            raise subprocess.TimeoutExpired("probe", 8)
        raise probe.ProbeError("no such device")

    monkeypatch.setattr(probe, "ask", ask)
    assert plan.main(begun) == status
    told = capsys.readouterr()
    assert "hours: " in told.out
    assert ("too busy to tell within ten seconds" in told.out) or ("no such device" in told.err)


def test_runs_that_share_a_gpu_must_fit_into_its_memory(small, tmp_path: Path) -> None:
    found = of_configs([small(seed=seed) for seed in range(6)], str(tmp_path))
    [group] = plan.grouped(found)
    one = estimate.memory(small())
    gpu = Speed("a GPU", 1e12, 3.5 * one, {"8": 4})
    [told] = plan.lacking([group], gpu, tmp_path)
    assert "4 at once" in told and "machine.runs_per_gpu=2" in told
    assert plan.lacking([group], Speed("a GPU", 1e12, 4.5 * one, {"8": 4}), tmp_path) == []


def test_a_disk_that_is_too_small_is_named(small, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("degradation.system.files.free", lambda _: 1000)
    groups = plan.grouped(of_configs([small()], str(tmp_path)))
    [told] = plan.lacking(groups, Speed(), tmp_path / "not" / "there")
    assert "disk" in told and "machine.runs=OTHER" in told


def test_a_wrong_setting_is_refused() -> None:
    with pytest.raises(validation.ConfigError, match=r"6n\+2"):
        plan.main(["-m", "depth=20,21"])


def test_the_probe_of_photographs_takes_a_few_of_them(monkeypatch) -> None:
    """A whole batch of ImageNet takes minutes on a CPU."""
    asked: list[dict[str, object]] = []

    def ask(what: str, request: dict[str, object], *rest: object) -> dict[str, object]:
        asked.append(request)
        return {"name": "", "batch_size": 2, "seconds": 1, "memory": None, "runs_at_once": {}}

    monkeypatch.setattr(probe, "ask", ask)
    settings = compose.runs_of(["+sweeps=figure4"])
    measured = probe.speed(settings, 8.0)
    assert asked[0]["cpu_batch_size"] == 2 and asked[0]["image"] == (224, 3, 1000)
    assert asked[0]["config"]["depth"] == 18  # type: ignore[index]
    assert measured.flops_per_second == 2 * estimate.work(settings[0].config).training


def test_a_probe_measures_this_device(small, settings, monkeypatch) -> None:
    monkeypatch.setattr(synthetic_run, "RATE_SECONDS", 0.05)
    request = {
        "config": schema.plain(small()), "machine": schema.plain(settings.machine),
        "image": [8, 1, 10], "cpu_batch_size": 4, "depths": [8], "until": 0.0,
    }  # fmt: skip
    began = time.monotonic()
    answer = synthetic_run.rate(request)
    assert 0 < answer["seconds"] < time.monotonic() - began
    assert (answer["batch_size"], answer["memory"]) == (4, None)
    assert answer["runs_at_once"] == {8: 1}


def test_a_device_that_is_not_there_is_named(small, settings, capsys) -> None:
    machine = schema.plain(settings.machine) | {"device": "cuda:7"}
    request = {"config": schema.plain(small()), "machine": machine}
    assert synthetic_run.main(["rate", json.dumps(request)]) == 2
    assert "cuda:7" in capsys.readouterr().err
