"""Weights from elsewhere: their names, their files, and that what doesn't fit is refused."""

import io
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from degradation.config.validation import ConfigError
from degradation.evaluation import layer_responses, weights
from degradation.models import resnet
from degradation.runs.run_dir import RunDir
from degradation.system.signals import Stop
from degradation.training import checkpoint
from degradation.training.devices.interleave import finish
from degradation.training.worker import work

WORDS = ["data=digits", "depth=8", "model.width=4"]
THEIRS = {"conv.": "conv1.", "norm.": "bn1.", "linear.": "fc."}


def theirs(name: str) -> str:
    """Our name as torchvision and most CIFAR ResNets have it."""
    for ours, other in THEIRS.items():
        if name.startswith(ours):
            return other + name.removeprefix(ours)
    name = name.replace("blocks.stage", "layer").replace("_0.", ".0.", 1)
    name = name.replace(".shortcut.conv.", ".downsample.0.")
    return name.replace(".shortcut.norm.", ".downsample.1.").replace(".norm", ".bn")


@pytest.mark.parametrize("shortcut", ["none", "projection"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_common_names_are_understood(shortcut: str, prefix: str, small) -> None:
    config = small(model__shortcut=shortcut)
    net = resnet.build(config.model, 8, 1, 10, 3, "fan_in")
    other = resnet.build(config.model, 8, 1, 10, 4, "fan_in")
    state = {k: v for k, v in net.state_dict().items() if "tracked" not in k}
    named = {weights.ours(prefix + theirs(name)): tensor for name, tensor in state.items()}
    weights.fit(other, named)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in state.items())


def test_ours_stay_ours() -> None:
    for name in ("conv.weight", "blocks.stage3_10.norm2.running_var", "linear.bias",
                 "blocks.stage2_0.shortcut.conv.weight"):  # fmt: skip
        assert weights.ours(name) == name


def test_what_does_not_fit_is_named(small) -> None:
    net = resnet.build(small().model, 8, 1, 10, 0, "fan_in")
    state = dict(net.state_dict())
    state["linear.weight"] = torch.zeros(3, 3)
    del state["conv.weight"]
    state["extra"] = torch.zeros(1)
    with pytest.raises(ConfigError) as caught:
        weights.fit(net, state)
    for line in ("missing: conv.weight", "unknown: extra", "linear.weight is (3, 3), not (10, 16)"):
        assert line in str(caught.value)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("unpickled",)

    zipped = io.BytesIO()
    torch.save({"x": torch.zeros(1)}, zipped)
    for content in (pickle.dumps(Evil()), zipped.getvalue()):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(ConfigError, match="can run any code"):
            weights.read(tmp_path / "w.pth")


@pytest.mark.parametrize("cut", [0, 4, 50, -1])
def test_a_damaged_file_is_refused(cut: int, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(save({"x": torch.zeros(9)})[:cut])
    with pytest.raises(checkpoint.CheckpointError, match=r"w\.safetensors"):
        weights.read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_metadata_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    x = torch.arange(6, dtype=dtype)
    (tmp_path / "w").write_bytes(save({"fc.weight": x}, metadata={"format": "pt"}))
    assert torch.equal(weights.read(tmp_path / "w")["linear.weight"], x)


def test_a_files_responses_are_those_of_the_run(small, machine, tmp_path: Path, capsys) -> None:
    """A run's checkpoint, given as a weights file, has the run's responses."""
    run = RunDir.of(small(), machine.runs)
    run.create(small())
    finish(work(run, machine, Stop()))
    wanted = layer_responses.table(layer_responses.probe(run))
    (file,) = sorted(run.checkpoints.iterdir())[-1:]
    copy = tmp_path / "given.safetensors"
    copy.write_bytes(file.read_bytes())
    assert layer_responses.main(["--weights", str(copy), *WORDS]) == 0
    assert capsys.readouterr().out == wanted
    assert (tmp_path / "given.responses.csv").read_text() == wanted


@pytest.mark.parametrize("line", [[], ["nowhere.safetensors", *WORDS],
                                  ["x", "-m", "depth=8,14"]])  # fmt: skip
def test_a_bad_line_is_refused(line: list[str], capsys) -> None:
    assert layer_responses.main(["--weights", *line]) == 2
    assert "--weights" in capsys.readouterr().err
