"""numerics.native: kernels in C that give what torch's layers give, rounded less."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from degradation.config import schema
from degradation.config.validation import ConfigError
from degradation.data import digits, loaders
from degradation.data.device_loader import Placement
from degradation.models import init, layer_stats
from degradation.models.kernels import convolution, library
from degradation.models.kernels import cpu as native
from degradation.models.layers import BatchNorm, Conv3x3
from degradation.training.devices.engine import Engine
from degradation.training.state import fresh
from tests.conftest import After
from tests.models.conftest import beside_double, noise, off, results, twins
from tests.training.train_here import bits, train_here

CPU = torch.device("cpu")
KERNELS = {"numerics__native": True, "model__width": 8}

pytestmark = pytest.mark.usefixtures("compiler")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("images", "inputs", "outputs", "height", "width"),
    [(5, 16, 16, 8, 8), (3, 8, 4, 7, 5), (2, 24, 36, 1, 3), (1, 16, 32, 45, 40), (2, 64, 64, 4, 4)],
)
def test_the_weights_gradient(
    images: int, inputs: int, outputs: int, height: int, width: int, stride: int
) -> None:
    """In bands that come out even and not, of odd sides, with a pitch that is a line and not."""
    torch.manual_seed(0)
    x, weight = noise(images, inputs, height, width), noise(outputs, inputs, 3, 3)
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    y = convolution.convolve(x, weight, stride)
    grad = torch.randn_like(y)
    ours = [y, *torch.autograd.grad(y, leaves, grad)]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    y = functional.conv2d(*exact, stride=stride, padding=1)
    theirs = [y, *torch.autograd.grad(y, exact, grad.double())]
    for own, truth in zip(ours, theirs, strict=True):
        assert own.shape == truth.shape
        assert off(own, truth) < 1e-6


def test_a_gradient_of_other_strides() -> None:
    """One number that autograd has expanded over all pixels, and planes before pixels."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 8, 6, 6, requires_grad=True), torch.randn(4, 8, 3, 3)
    weight.requires_grad_()
    own = torch.autograd.grad(convolution.convolve(x, weight, 1).sum(), [x, weight])
    torchs = torch.autograd.grad(functional.conv2d(x, weight, padding=1).sum(), [x, weight])
    for a, b in zip(own, torchs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("mean", [0, 30])
@pytest.mark.parametrize("with_shortcut", [False, True])
@pytest.mark.parametrize("shape", [(4, 16, 32, 32), (3, 8, 7, 5), (128, 64, 2, 2), (2, 24, 13, 13)])
def test_normalized_and_rectified(
    shape: tuple[int, int, int, int], with_shortcut: bool, mean: float
) -> None:
    """In blocks of pixels that come out even and not; the mean far from zero costs no digits."""
    layers = twins(native.use, shape[1])
    x, shortcut, grad = (noise(*shape) for _ in range(3))
    for own, true in beside_double(
        *layers, x * 3 + mean, shortcut if with_shortcut else None, grad
    ):
        assert own.shape == true.shape
        assert off(own, true) < 2e-6


def test_nan_stays_nan() -> None:
    """Or a run that diverges would look as if it hadn't."""
    norm, _ = twins(native.use, 8)
    x = noise(2, 8, 4, 4)
    x[0, 3, 1, 1] = torch.nan
    y, gradient, *_ = results(norm, x, None, torch.ones_like(x))
    assert y[:, 3].isnan().all()
    assert not y[:, :3].isnan().any()
    assert gradient[:, 3].isnan().all()


def test_the_kernels_serve_what_they_fit(small) -> None:
    net = init.build(small(**KERNELS).model, 8, 1, 10, 0, "fan_in")
    native.use(net)
    served = {n: m.convolve is not None for n, m in net.named_modules() if isinstance(m, Conv3x3)}
    assert [name for name, own in served.items() if not own] == ["conv"]  # of one plane
    assert all(m.rectify is not None for m in net.modules() if isinstance(m, BatchNorm))
    ghosts = init.build(small(**KERNELS, model__ghost_batch_size=4).model, 8, 1, 10, 0, "fan_in")
    native.use(ghosts)
    assert all(m.rectify is None for m in ghosts.modules() if isinstance(m, BatchNorm))


def steps(config: schema.RunConfig) -> tuple[float, list[Tensor]]:
    """The sum of the losses, and the gradients after two iterations."""
    images = digits.load(config.data)
    state = fresh(config, images, CPU)
    loader = loaders.train_loader(images, config, Placement(CPU))
    engine = Engine(config.numerics, state, CPU)
    for step in range(2):
        engine.train_step(*loader.get_batch(step), lr=config.recipe.lr)
    return float(state.row.loss), [p.grad for p in state.network.parameters() if p.grad is not None]


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
def test_training_is_the_same_but_for_rounding(shortcut: str, small) -> None:
    """The second iteration's loss shows the first one's gradients."""
    common = {"model__shortcut": shortcut, "model__width": 8}
    ours, torchs = (steps(small(**common, numerics__native=on)) for on in (True, False))
    assert ours[0] == pytest.approx(torchs[0], rel=1e-5)
    assert not all(map(torch.equal, ours[1], torchs[1]))  # or the kernels had no part in it
    for a, b in zip(ours[1], torchs[1], strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-3


def test_a_run_that_was_stopped_is_the_same_and_notes_the_compiler(
    small, machine, tmp_path: Path
) -> None:
    config = small(**KERNELS, model__shortcut="identity")
    whole = train_here(config, machine, tmp_path / "whole")
    cut = train_here(config, machine, tmp_path / "cut", After(5))
    assert bits(cut) == bits(whole)
    launches = [json.loads(line) for line in cut.launches_jsonl.read_text().splitlines()]
    assert [launch["iteration"] for launch in launches] == [0, 4]
    compiler = library.versions()["compiler"]
    assert {launch["fingerprint"]["compiler"] for launch in launches} == {compiler}


def test_a_hook_gets_what_its_layer_gives(small) -> None:
    """In layer statistics the kernels change the last digits alone."""
    torch.manual_seed(0)
    x, labels = noise(16, 1, 8, 8), torch.randint(10, (16,))
    found = []
    for serve in (False, True):
        net = init.build(small(**KERNELS, model__shortcut="identity").model, 8, 1, 10, 0, "fan_in")
        if serve:
            native.use(net)
        found.append(layer_stats.measure(net, x, labels, "fp32"))
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert ours.pop("name") == theirs.pop("name")
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    ("compiler", "says"),
    [
        ("", "needs a C compiler.*numerics=reference"),
        ("/nowhere/cc", "/nowhere/cc: No such file"),
        ("/bin/false", "failed"),
        ("/bin/true", "cannot open shared object"),
    ],
)
def test_a_compiler_that_does_not_compile(
    compiler: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=says):
        library.load.__wrapped__()
