"""The constructed solution: a deeper net that computes what the shallow one does."""

import dataclasses
from pathlib import Path

import pytest
import torch

from degradation.config import validation
from degradation.config.schema import RunConfig
from degradation.data import sources
from degradation.data.device_loader import DeviceEvalLoader, Placement
from degradation.models import init
from degradation.models.identity_init import initialize_as_identity
from degradation.models.resnet import Network
from degradation.runs.run_dir import RunDir
from degradation.training import setup
from tests.training.train_here import context_of, train_here

PLACE = Placement(torch.device("cpu"))


def net_of(config: RunConfig) -> Network:
    return init.build(config.model, config.depth, 1, 10, config.seed, config.recipe.init)


def deepened(config: RunConfig) -> tuple[Network, Network, torch.Tensor]:
    """A shallow net that is no longer fresh, the deep one made from it, and test images."""
    images = sources.load(config.data)
    shallow = net_of(setup.parent(config))
    with torch.no_grad():
        for x, _ in DeviceEvalLoader(images, "train", PLACE, batch_size=64):
            shallow(x)  # moves the running statistics
        for name, parameter in shallow.named_parameters():
            if "norm" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    deep = net_of(config)
    before = {name: tensor.clone() for name, tensor in shallow.state_dict().items()}
    initialize_as_identity(
        deep, config, before, DeviceEvalLoader(images, "train", PLACE, batch_size=128)
    )
    assert all(torch.equal(deep.state_dict()[name], tensor) for name, tensor in before.items())
    x, _ = next(iter(DeviceEvalLoader(images, "test", PLACE)))
    return shallow, deep, x


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
@pytest.mark.parametrize("norm", [True, False])
def test_the_deep_net_computes_what_the_shallow_one_does(shortcut: str, norm: bool, small) -> None:
    config = small(
        depth=26,
        model__shortcut=shortcut,
        model__norm=norm,
        model__width=8,
        recipe__identity_init_from=14,
    )
    shallow, deep, x = deepened(config)
    with torch.no_grad():
        wanted, found = shallow.eval()(x), deep.eval()(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    torch.manual_seed(0)
    assert not torch.allclose(net_of(config).eval()(x), wanted)


@pytest.mark.parametrize("shortcut", ["none", "identity"])
def test_noise_moves_it_away(shortcut: str, small) -> None:
    distances = []
    for noise in (0.0, 0.1, 1.0):
        config = small(
            depth=20,
            model__shortcut=shortcut,
            recipe__identity_init_from=14,
            recipe__identity_init_noise=noise,
        )
        shallow, deep, x = deepened(config)
        with torch.no_grad():
            distances.append(float((deep.eval()(x) - shallow.eval()(x)).norm()))
    assert distances[0] < 1e-3 < distances[1] < distances[2]


def test_a_run_starts_from_the_finished_one_beside_it(small, machine, tmp_path: Path) -> None:
    deep = small(depth=14, model__shortcut="identity", recipe__identity_init_from=8)
    recipe = dataclasses.replace(deep.recipe, identity_init_from=None)
    shallow = dataclasses.replace(deep, depth=8, recipe=recipe)
    assert setup.parent(deep) == shallow
    RunDir(tmp_path / shallow.name).create(shallow)
    with pytest.raises(
        validation.ConfigError, match=r"identity_init_from=8: needs the finished run .*partial"
    ):
        context_of(deep, machine, tmp_path)
    finished = train_here(shallow, machine, tmp_path)
    context = context_of(deep, machine, tmp_path)
    loader = context.eval_loaders["test"]
    _, errors = context.engine.evaluate(loader, lambda: None)
    assert round(100 * errors / len(loader), 4) == finished.rows()[-1]["test_error"]
