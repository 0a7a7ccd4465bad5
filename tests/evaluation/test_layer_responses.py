"""Layer responses, as Figure 7 has them."""

import dataclasses

import pytest
import torch

from degradation.commands import evaluate
from degradation.config.schema import Model
from degradation.config.validation import ConfigError
from degradation.data.device_loader import DeviceEvalLoader, Placement
from degradation.data.sources import load
from degradation.evaluation import layer_responses
from degradation.models import init
from degradation.runs.run_dir import RunDirError
from tests.training.train_here import created, train_here

PLACE = Placement(torch.device("cpu"))


@pytest.fixture
def images(small) -> DeviceEvalLoader:
    found = load(small().data)
    return DeviceEvalLoader(dataclasses.replace(found, test=found.test.part(0, 50)), "test", PLACE)


def test_a_response_is_the_standard_deviation_of_all_numbers(images) -> None:
    net, seen = init.build(Model("none", "back", 4), 8, 1, 10, 0, "fan_in"), []
    net.norm.register_forward_hook(lambda _, x, y: seen.append(y.clone()))
    images.batch_size = 20
    found = layer_responses.responses(net, images)["norm"]
    assert found == pytest.approx(float(torch.cat(seen).double().std(correction=0)), rel=1e-6)
    assert len(seen) == 3


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection_all"])
def test_a_response_is_measured_behind_each_3x3_layers_normalization(images, shortcut: str) -> None:
    """Scale a layer's normalization by 7 and the response is 7 times as strong: before the ReLU."""
    net = init.build(Model(shortcut, "back", 4), 8, 1, 10, 0, "fan_in")
    before = layer_responses.responses(net, images)
    assert len(before) == 7
    assert list(before)[:3] == ["norm", "blocks.stage1_0.norm1", "blocks.stage1_0.norm2"]
    net.get_parameter("blocks.stage3_0.norm2.weight").data *= 7
    after = layer_responses.responses(net, images)
    assert after["blocks.stage3_0.norm2"] == pytest.approx(7 * before["blocks.stage3_0.norm2"])
    assert after["norm"] == before["norm"]


def test_the_command_leaves_its_numbers_in_the_run(small, machine, capsys) -> None:
    run = created(small(), machine)
    with pytest.raises(RunDirError, match="no checkpoint"):
        evaluate.main(["responses", str(run.folder)])
    train_here(small(), machine)
    assert evaluate.main(["responses", machine.runs]) == 0
    lines = run.responses.read_text().splitlines()
    assert lines[0] == "layer,name,response_std"
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(1, 8)]
    assert str(run.responses) in capsys.readouterr().out
    for file in run.checkpoints.iterdir():
        file.write_bytes(b"damaged")
    with pytest.raises(RunDirError, match="train the run anew"):
        evaluate.main(["responses", str(run.folder)])


def test_a_run_that_kernels_of_another_device_trained_is_measured(small, machine) -> None:
    run = created(small(numerics__fused=True), machine)
    with pytest.raises(RunDirError, match="no checkpoint"):  # and not: fused needs a GPU
        evaluate.main(["responses", str(run.folder)])


def test_a_network_without_normalization_has_no_response(small, machine) -> None:
    run = created(small(model__norm=False), machine)
    with pytest.raises(ConfigError, match=r"model\.norm=false"):
        evaluate.main(["responses", str(run.folder)])
