"""Someone else's trained weights: their names, and that what doesn't fit is refused."""

import pytest
import torch

from degradation.config.validation import ConfigError
from degradation.evaluation import weights
from degradation.models import init

THEIRS = {"conv.": "conv1.", "norm.": "bn1.", "linear.": "fc."}


def theirs(name: str) -> str:
    """The name here as torchvision and most CIFAR ResNets have it."""
    for ours, other in THEIRS.items():
        if name.startswith(ours):
            return other + name.removeprefix(ours)
    name = name.replace("blocks.stage", "layer").replace("_0.", ".0.", 1)
    name = name.replace(".shortcut.conv.", ".downsample.0.")
    return name.replace(".shortcut.norm.", ".downsample.1.").replace(".norm", ".bn")


@pytest.mark.parametrize("shortcut", ["none", "projection"])
@pytest.mark.parametrize("prefix", ["", "module.", "ours"])
def test_common_names_are_understood(shortcut: str, prefix: str, small) -> None:
    config = small(model__shortcut=shortcut, model__width=8)
    net, other = (init.build(config.model, 8, 1, 10, seed, "fan_in") for seed in (3, 4))
    state = {k: v for k, v in net.state_dict().items() if "tracked" not in k}
    given = {name if prefix == "ours" else prefix + theirs(name): t for name, t in state.items()}
    weights.fit(other, weights.named(given))
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in state.items())


def test_what_does_not_fit_is_named(small) -> None:
    net = init.build(small().model, 8, 1, 10, 0, "fan_in")
    state = dict(net.state_dict())
    state["linear.weight"] = torch.zeros(3, 3)
    del state["conv.weight"]
    state["extra"] = torch.zeros(1)
    with pytest.raises(ConfigError) as caught:
        weights.fit(net, state)
    for name in ("conv.weight", "extra", "linear.weight"):
        assert f'"{name}"' in str(caught.value) or f"for {name}" in str(caught.value)
