"""Plans: what is counted is what a run really has; what is not known is said."""

import itertools
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from degradation.commands import estimate, plan, probe
from degradation.commands.probe import Speed
from degradation.config.schema import Model, Settings
from degradation.models import cost
from degradation.runs.progress import of_configs
from degradation.training.devices import synthetic_run
from degradation.training.state import fresh
from tests.analysis.conftest import add

CPU = torch.device("cpu")


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
    assert 11e9 < cost.work(Model("identity", "back", 16), 1202).memory(128, bytes_each=4) < 16e9


def test_evaluations_are_counted_to_the_end(small) -> None:
    """Rows at 4, 6, 8, 9, 12 (see conftest); the training set too at 6, 9 and 12."""
    config = small(data__val_size=100)
    test, train = 359 + 100, 1438 - 100
    assert estimate.evaluated_images(config, 0) == 5 * test + 3 * train
    assert estimate.evaluated_images(config, 8) == 2 * test + 2 * train
    assert estimate.evaluated_images(config, 12) == 0


@pytest.fixture
def study(small, machine, monkeypatch) -> list[Settings]:
    """Four runs of 12 iterations in two networks: one is done, one stopped at iteration 4."""
    pairs = itertools.product(("none", "identity"), (0, 1))
    configs = [small(model__shortcut=shortcut, seed=seed) for shortcut, seed in pairs]
    add(Path(machine.runs), configs[0], [(4, 1, 1)])
    add(Path(machine.runs), configs[1], [(4, 1, 1)], None)
    settings = [Settings(config, machine) for config in configs]
    monkeypatch.setattr(plan.compose, "runs_of", lambda _: settings)
    return settings


def test_a_plan_counts_what_is_done_and_left(study, capsys, monkeypatch) -> None:
    monkeypatch.setattr(probe, "speed", pytest.fail)
    assert plan.main(["--no-probe"]) == 0
    out = capsys.readouterr().out
    plain, residual, total = (line.split() for line in out.splitlines()[1:4])
    assert plain[:7] == ["digits", "plain", "8", "12", "2", "1", "1"]
    assert residual[:7] == ["digits", "residual", "8", "12", "2", "–", "–"]
    assert total[:4] == ["all", "4", "1", "1"]
    assert "hours: not measured" in out


def test_hours_are_operations_over_the_measured_rate(study, capsys, monkeypatch) -> None:
    done = [12, 4, 0, 0]
    flops = sum(map(estimate.remaining_flops, [s.config for s in study], done))
    monkeypatch.setattr(probe, "speed", lambda remaining, timeout: Speed("a thing", flops / 7200))
    assert plan.main([]) == 0
    out = capsys.readouterr().out
    assert next(line for line in out.splitlines() if line.startswith("all")).split()[-1] == "2.00"
    assert "hours: of a thing" in out


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (subprocess.TimeoutExpired("probe", 8), 0, "too busy to tell within ten seconds"),
        (probe.ProbeError("no such device"), 1, "no such device"),
    ],
)
def test_what_is_not_known_is_said(study, capsys, monkeypatch, fault, status, told: str) -> None:
    monkeypatch.setattr(probe, "ask", Mock(side_effect=fault))
    assert plan.main([]) == status
    assert told in "".join(capsys.readouterr())


def test_runs_that_share_a_gpu_must_fit_into_its_memory(small, tmp_path: Path) -> None:
    found = of_configs([small(seed=seed) for seed in range(6)], str(tmp_path))
    [group] = plan.grouped(found)
    one = estimate.memory(small())
    gpu = Speed("a GPU", 1e12, 3.5 * one, {"8": 4})
    [told] = plan.lacking([group], gpu, tmp_path)
    assert "4 at once" in told and "machine.runs_per_gpu=2" in told
    assert plan.lacking([group], Speed("a GPU", 1e12, 4.5 * one, {"8": 4}), tmp_path) == []


def test_a_probe_measures_this_device(small, settings, monkeypatch) -> None:
    monkeypatch.setattr(synthetic_run, "RATE_SECONDS", 0.05)
    request = {"config": asdict(small()), "machine": asdict(settings.machine), "image": [8, 1, 10]}
    request |= {"cpu_batch_size": 4, "depths": [8], "until": 0.0}
    began = time.monotonic()
    answer = synthetic_run.rate(request)
    assert 0 < answer["seconds"] < time.monotonic() - began
    assert (answer["batch_size"], answer["memory"]) == (4, None)
    assert answer["runs_at_once"] == {8: 1}
