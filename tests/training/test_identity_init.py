"""The constructed solution: a deeper net that computes what the shallow one does."""

import dataclasses

import pytest
import torch

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.device_loader import DeviceEvalLoader, Placement
from degradation.models import init
from degradation.models.identity_init import initialize_as_identity
from degradation.models.resnet import Network
from degradation.training import setup
from tests.training.train_here import context_of, created, train_here

PLACE = Placement(torch.device("cpu"))


def deepened(config: RunConfig) -> tuple[Network, Network, torch.Tensor]:
    """A shallow net that is no longer fresh, the deep one made from it, and test images."""
    images = sources.load(config.data)
    shallow = init.build(config.model, setup.parent(config).depth, 1, 10, 0, "fan_in")
    with torch.no_grad():
        for x, _ in DeviceEvalLoader(images, "train", PLACE, batch_size=64):
            shallow(x)  # moves the running statistics
        for name, parameter in shallow.named_parameters():
            if "norm" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    deep = init.build(config.model, config.depth, 1, 10, 0, "fan_in")
    before = {name: tensor.clone() for name, tensor in shallow.state_dict().items()}
    loader = DeviceEvalLoader(images, "train", PLACE, batch_size=128)
    initialize_as_identity(deep, config, before, loader)
    assert all(torch.equal(deep.state_dict()[name], tensor) for name, tensor in before.items())
    x, _ = next(iter(DeviceEvalLoader(images, "test", PLACE)))
    return shallow, deep, x


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
@pytest.mark.parametrize("norm", [True, False])
def test_the_deep_net_computes_what_the_shallow_one_does(shortcut: str, norm: bool, small) -> None:
    model = {"model__shortcut": shortcut, "model__norm": norm, "model__width": 8}
    config = small(depth=26, **model, recipe__identity_init_from=14)
    shallow, deep, x = deepened(config)
    with torch.no_grad():
        wanted, found = shallow.eval()(x), deep.eval()(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("shortcut", ["none", "identity"])
def test_noise_moves_it_away(shortcut: str, small) -> None:
    distances = []
    for noise in (0.0, 0.1, 1.0):
        recipe = {"recipe__identity_init_from": 14, "recipe__identity_init_noise": noise}
        config = small(depth=20, model__shortcut=shortcut, **recipe)
        shallow, deep, x = deepened(config)
        with torch.no_grad():
            distances.append(float((deep.eval()(x) - shallow.eval()(x)).norm()))
    assert distances[0] < 1e-3 < distances[1] < distances[2]


def test_a_run_starts_from_the_finished_one_beside_it(small, machine) -> None:
    deep = small(depth=14, model__shortcut="identity", recipe__identity_init_from=8)
    recipe = dataclasses.replace(deep.recipe, identity_init_from=None)
    shallow = dataclasses.replace(deep, depth=8, recipe=recipe)
    assert setup.parent(deep) == shallow
    created(shallow, machine)
    with pytest.raises(ConfigError, match=r"_init_from=8: needs the finished run .*partial"):
        context_of(deep, machine)
    finished = train_here(shallow, machine)
    context = context_of(deep, machine)
    loader = context.eval_loaders["test"]
    _, errors = context.engine.evaluate(loader, lambda: None)
    assert round(100 * errors / len(loader), 4) == finished.rows()[-1]["test_error"]
