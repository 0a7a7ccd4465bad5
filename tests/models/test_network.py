"""The networks: sizes, pairs, options, and what the shortcut does."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from degradation.config.schema import Model
from degradation.models import cost
from degradation.models.blocks import Identity, Projection
from degradation.models.init import build
from degradation.models.layers import MaxPool, max_pool_by_slices
from degradation.models.resnet import Network, count_parameters, parameters_digest
from degradation.training.devices.synthetic_run import noise
from degradation.training.state import fresh
from degradation.training.step import train_step

PLAIN, A = Model("none", "back", 16), Model("identity", "back", 16)
B, C = Model("projection", "back", 16), Model("projection_all", "back", 16)
# Of Sec. 4.2: equal for both arms with option A.
PARAMETERS = {20: 269_722, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}


def empty(model: Model, depth: int, classes: int = 10) -> Network:
    with torch.device("meta"):
        return Network(model, depth, 3, classes)


@pytest.mark.parametrize(("depth", "count"), PARAMETERS.items())
def test_parameters_are_the_papers(depth: int, count: int) -> None:
    counts = [count_parameters(empty(model, depth)) for model in (PLAIN, A, B)]
    assert counts == [count, count, count + 2_752]
    assert weighted_layers(empty(A, depth)) == depth


# Of Table 1's networks; from 50 layers on with option B, as they are widely known.
IMAGENET = [
    *((18, "identity", 11_515_688), (18, "none", 11_515_688), (18, "projection", 11_689_512)),
    *((34, "identity", 21_623_848), (34, "none", 21_623_848), (34, "projection", 21_797_672)),
    *((50, "projection", 25_557_032), (101, "projection", 44_549_160)),
    (152, "projection", 60_192_808),
]


def imagenet(shortcut: str = "identity", width: int = 64) -> Model:
    return Model(shortcut, "back", width, design="imagenet")


@pytest.mark.parametrize(("depth", "shortcut", "count"), IMAGENET)
def test_parameters_for_imagenet(depth: int, shortcut: str, count: int) -> None:
    net = empty(imagenet(shortcut), depth, 1000)
    assert count_parameters(net) == count
    assert weighted_layers(net) == depth


def weighted_layers(net: Network) -> int:
    """Those of the paper's count, which leaves out projections."""
    layers = {name for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return sum("shortcut" not in name for name in layers)


@pytest.mark.parametrize(
    ("depth", "billions"), [(18, 1.8), (34, 3.6), (50, 3.8), (101, 7.6), (152, 11.3)]
)
def test_multiply_adds_of_table_1(depth: int, billions: float) -> None:
    """With option B from 50 layers on, as Table 1 has it."""
    shortcut = "projection" if depth >= 50 else "identity"
    work = cost.work(imagenet(shortcut), depth, 224, 3, 1000)
    assert work.operations / 2e9 == pytest.approx(billions, abs=0.08)


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection", "projection_all"])
@pytest.mark.parametrize(
    ("design", "depth"), [("cifar", 14), ("bottleneck", 20), ("imagenet", 18), ("imagenet", 50)]
)
def test_every_parameter_learns(design: str, depth: int, shortcut: str) -> None:
    model = Model(shortcut, "back", 8, design=design)
    net = build(model, depth, 3, 10, 0, "fan_in")
    net(torch.randn(4, 3, 32, 32)).square().mean().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert silent == []
    assert cost.work(model, depth).parameters == count_parameters(net)


@pytest.mark.parametrize("side", [7, 8])
def test_a_pool_of_slices_is_the_pool(side: int) -> None:
    """Its gradients, too, where no window has its maximum twice."""
    x = torch.rand(2, 3, side, side)
    both = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    found = [MaxPool()(both[0]), max_pool_by_slices(both[1])]
    assert torch.equal(*found)
    weights = torch.randn_like(found[0])
    for y in found:
        (y * weights).sum().backward()
    assert torch.allclose(both[0].grad, both[1].grad)


@pytest.mark.parametrize(("model", "projections"), [(B, 2), (C, 9)])
def test_option_c_projects_at_every_block(model: Model, projections: int) -> None:
    assert sum(isinstance(m, Projection) for m in empty(model, 20).modules()) == projections


@pytest.mark.parametrize(("model", "depth"), [(A, 20), (imagenet(width=2), 50)])
def test_a_pair_has_equal_names_shapes_and_initial_tensors(model: Model, depth: int) -> None:
    plain, residual, other = (
        build(replace(model, shortcut=shortcut), depth, 3, 10, seed, "fan_in")
        for shortcut, seed in (("none", 3), ("identity", 3), ("none", 4))
    )
    ours, theirs = plain.state_dict(), residual.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert parameters_digest(plain) == parameters_digest(residual) != parameters_digest(other)
    x = torch.randn(2, 3, 64, 64)
    assert not torch.equal(plain(x), residual(x))


def test_initial_tensors_depend_on_name_and_seed_alone() -> None:
    shallow = build(A, 20, 3, 10, 0, "fan_in").state_dict()
    torch.manual_seed(5)
    for model, depth in ((A, 20), (A, 32), (B, 20)):
        other = build(model, depth, 3, 10, 0, "fan_in").state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in shallow.items())


@pytest.mark.parametrize(("init", "fan"), [("fan_in", 32), ("fan_out", 64)])
def test_he_variance(init: str, fan: int) -> None:
    conv = build(PLAIN, 8, 3, 10, 0, init).get_parameter("blocks.stage3_0.conv1.weight")
    assert conv.shape == (64, 32, 3, 3)
    assert float(conv.detach().var()) == pytest.approx(2 / (9 * fan), rel=0.03)


@pytest.mark.parametrize(("padding", "front"), [("back", 0), ("split", 2)])
def test_option_a_subsamples_and_pads_with_zeros(padding: str, front: int) -> None:
    x = torch.randn(2, 4, 6, 6)
    y = Identity(4, 2, padding)(x)
    assert y.shape == (2, 8, 3, 3)
    assert torch.equal(y[:, front : front + 4], x[:, :, ::2, ::2])
    assert y.count_nonzero() == y[:, front : front + 4].count_nonzero()


@pytest.mark.parametrize(("model", "share"), [(PLAIN, 0), (A, 1), (replace(A, alpha=0.25), 0.25)])
def test_a_block_whose_residual_is_zero_gives_this_share_of_its_input(
    model: Model, share: float
) -> None:
    x = torch.randn(2, 16, 8, 8).relu()
    net = build(model, 8, 3, 10, 0, "fan_in")
    net.get_parameter("blocks.stage1_0.norm2.weight").data.zero_()
    assert torch.equal(net.get_submodule("blocks.stage1_0")(x), share * x)


def outputs_and_gradients(model: Model) -> list[torch.Tensor]:
    net = build(model, 14, 3, 10, 1, "fan_in")
    generator = torch.Generator().manual_seed(0)
    logits = net(torch.randn(4, 3, 8, 8, generator=generator))
    logits.square().sum().backward()
    return [logits, *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("alpha", "arm"), [(0.0, PLAIN), (1.0, A)])
def test_a_scaled_shortcut_ends_in_both_arms(alpha: float, arm: Model) -> None:
    """Bit by bit, gradients included."""
    scaled = outputs_and_gradients(replace(A, alpha=alpha))
    for own, wanted in zip(scaled, outputs_and_gradients(arm), strict=True):
        assert torch.equal(own, wanted)


def test_without_normalization_only_convolutions_and_the_linear_layer_have_parameters() -> None:
    net = build(replace(A, norm=False), 14, 3, 10, 0, "fan_in")
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(list(net.parameters())) == 14 + 1
    assert torch.equal(net.conv.weight, build(A, 14, 3, 10, 0, "fan_in").conv.weight)


@pytest.mark.parametrize("init", ["orthogonal", "delta_orthogonal"])
def test_orthogonal_kernels(init: str) -> None:
    weight = build(PLAIN, 8, 3, 10, 0, init).get_parameter("blocks.stage1_0.conv1.weight").detach()
    matrix = weight.flatten(1) if init == "orthogonal" else weight[:, :, 1, 1]
    torch.testing.assert_close(matrix @ matrix.T, 2 * torch.eye(16), rtol=1e-4, atol=1e-5)
    elsewhere = weight.clone()
    elsewhere[:, :, 1, 1] = 0
    assert bool(elsewhere.any()) == (init == "orthogonal")


@pytest.mark.slow
@pytest.mark.parametrize("shortcut", ["identity", "none"])
def test_1202_residual_layers_train_and_plain_ones_overflow(shortcut: str, small) -> None:
    """Batch normalization lets the gradient of a plain net grow by about a fifth a layer on its way
    down, here 1.2¹²⁰⁰ times, past float32's range: the first loss is fine, the second is no number,
    and that is a result."""
    config = small(model__shortcut=shortcut, model__width=16, depth=1202)
    state = fresh(config, noise(2, side=8, channels=1), torch.device("cpu"))
    torch.manual_seed(0)
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    for step in range(2):
        train_step(state, x, labels, "fp32")
        assert state.row.loss.isfinite() == (step == 0 or shortcut == "identity")
