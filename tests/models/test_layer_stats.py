"""Layer statistics: the numbers, and that measuring them changes nothing."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from degradation.models import init, layer_stats
from degradation.runs.run_dir import whole_lines
from tests.training.train_here import bits, train_here

PROJECTIONS = {"model__shortcut": "projection_all", "model__width": 8}


@pytest.mark.parametrize("changes", [{}, {"model__norm": False}, PROJECTIONS])
def test_the_numbers_are_those_of_a_plain_backward_pass(changes: dict[str, object], small) -> None:
    config = small(depth=14, **changes)
    net = init.build(config.model, 14, 1, 10, 0, "fan_in")
    torch.manual_seed(0)
    x, labels = torch.randn(6, 1, 8, 8), torch.arange(6)
    found = layer_stats.measure(net, x, labels, "fp32")
    assert [layer["layer"] for layer in found] == list(range(1, 14))
    functional.cross_entropy(net(x), labels).backward()
    for layer in found:
        weight = net.get_parameter(f"{layer['name']}.weight")
        assert weight.grad is not None
        assert layer["gradient_norm"] == pytest.approx(float(weight.grad.norm()), rel=1e-5)
        assert layer["weight_norm"] == pytest.approx(float(weight.detach().norm()))
    assert found[0]["input_std"] == pytest.approx(float(x.std()))
    if not changes:  # a fresh batch normalization gives variance 1, plane by plane
        assert all(layer["response_std"] == pytest.approx(1, abs=0.01) for layer in found)


@pytest.mark.parametrize(("every", "iterations"), [(1, [0, 4, 6, 8, 9, 12]), (2, [0, 6, 9])])
def test_a_run_logs_them_when_asked_and_its_bytes_are_the_same(
    every: int, iterations: list[int], small, machine, tmp_path: Path
) -> None:
    runs = [
        train_here(small(), dataclasses.replace(machine, log_layers_every=n), tmp_path / str(n))
        for n in (0, every)
    ]
    assert not runs[0].layers.exists()
    logged = [json.loads(line) for line in whole_lines(runs[1].layers)]
    assert [line["iteration"] for line in logged] == iterations
    assert all(len(line["layers"]) == 7 for line in logged)
    assert bits(runs[0]) == bits(runs[1])
