"""Layer responses."""

import pytest
import torch

from degradation.config.schema import Model
from degradation.data.device_loader import Exam
from degradation.data.sources import load
from degradation.evaluation import layer_responses
from degradation.evaluation.layer_responses import Spread
from degradation.models import resnet
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system.signals import Stop
from degradation.training.devices.interleave import finish
from degradation.training.worker import work


def test_the_spread_is_that_of_all_numbers() -> None:
    x = torch.randn(4, 100, generator=torch.Generator().manual_seed(0)) * 3 + 5
    spread = Spread()
    for part in x:
        spread.add(part)
    assert spread.std == pytest.approx(float(x.std(correction=0)), rel=1e-6)


def test_one_response_a_3x3_layer_in_order_whatever_the_shortcut(small) -> None:
    images = load(small().data)
    exam = Exam(images.test.rows(0, 20), images, torch.device("cpu"))
    for shortcut in ("none", "identity", "projection_all"):
        net = resnet.build(Model(shortcut, "back", 4), 14, 1, 10, 0, "fan_in")
        names = list(layer_responses.responses(net, exam))
        assert len(names) == 13
        assert names[:3] == ["norm", "blocks.stage1_0.norm1", "blocks.stage1_0.norm2"]


def test_a_response_is_measured_behind_the_normalisation(small) -> None:
    """Scale a layer's normalisation by 7 and the response is 7 times as strong: before the ReLU."""
    images = load(small().data)
    exam = Exam(images.test.rows(0, 50), images, torch.device("cpu"))
    net = resnet.build(Model("identity", "back", 4), 8, 1, 10, 0, "fan_in")
    before = layer_responses.responses(net, exam)
    net.get_parameter("blocks.stage3_0.norm2.weight").data *= 7
    after = layer_responses.responses(net, exam)
    assert after["blocks.stage3_0.norm2"] == pytest.approx(7 * before["blocks.stage3_0.norm2"])
    assert after["norm"] == before["norm"]


def test_the_command_leaves_its_numbers_in_the_run(small, machine, capsys) -> None:
    run = RunDir.of(small(), machine.runs)
    run.create(small())
    with pytest.raises(RunDirError, match="no checkpoint"):
        layer_responses.probe(run)
    finish(work(run, machine, Stop()))
    assert layer_responses.main([machine.runs]) == 0
    lines = run.responses.read_text().splitlines()
    assert lines[0] == "layer,name,response_std"
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(1, 8)]
    assert "1 runs" in capsys.readouterr().out
