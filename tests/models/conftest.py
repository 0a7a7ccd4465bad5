"""What the tests of the kernels share: comparison with double precision, and stand-ins."""

import copy
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from degradation.models.init import build
from degradation.models.kernels import gpu
from degradation.models.layers import BatchNorm, rectified
from tests.conftest import small

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
KERNELS = ["_statistics", "_normalize", "_reductions", "_input_gradient"]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module. Interpreted programs are slow, one after the other: so they are few, and large
    maps have several tiles for each. On a GPU, cuDNN uses no TF32 and adds in a fixed order."""
    pytest.importorskip("triton", reason="needs triton, which torch's CUDA build brings")
    module = gpu.load()
    if INTERPRETED:
        monkeypatch.setattr(module, "PARTIALS", 3)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield module


class Instead:
    """Stands in a kernel's place: a launch calls `launch` with its grid and arguments."""

    def __init__(self, launch: Callable[..., None]) -> None:
        self.launch = launch

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return partial(self.launch, grid)


def network(fused: bool, shortcut: str, depth: int = 8) -> nn.Module:
    model = small(model__width=8, model__shortcut=shortcut).model
    net = build(model, depth, 1, 10, 0, "fan_in").to(memory_format=torch.channels_last)
    if fused:
        gpu.use(net)
    return net


def noise(*shape: int, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The same numbers on every device, channels last."""
    return torch.randn(shape).to(device, dtype).contiguous(memory_format=torch.channels_last)


def off(ours: Tensor, truth: Tensor) -> float:
    """The distance, in parts of the truth's norm."""
    return float((ours.double() - truth).detach().norm() / truth.detach().norm())


def twins(
    use: Callable[[nn.Module], None], channels: int, ghost: int | None = None, device: str = "cpu"
) -> tuple[BatchNorm, BatchNorm]:
    """Two equal layers: by the kernels, and by torch in double precision."""
    torch.manual_seed(0)
    ours, exact = (BatchNorm(channels, ghost).to(device) for _ in range(2))
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    exact.load_state_dict(ours.state_dict())
    use(ours)
    return ours, exact.double()


def results(
    norm: BatchNorm, x: Tensor, shortcut: Tensor | None, grad: Tensor, mask: Tensor | None = None
) -> list[Tensor]:
    """The output, the gradients by all that has one, and the running averages.

    With a `mask`, ReLU lets through what the mask does.
    """
    x = x.detach().requires_grad_()
    shortcut = None if shortcut is None else shortcut.detach().requires_grad_()
    if mask is None:
        y = rectified(norm, x, shortcut)
    else:
        y = (norm(x) if shortcut is None else norm(x) + shortcut) * mask
    leaves = [t for t in (x, shortcut, norm.weight, norm.bias) if t is not None]
    averages = [norm.running_mean, norm.running_var]
    return [y, *torch.autograd.grad(y, leaves, grad), *averages]


def beside_double(
    ours: BatchNorm, exact: BatchNorm, x: Tensor, shortcut: Tensor | None, grad: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Each result, and the same in double precision, where ReLU lets the same gradients through."""
    found = results(ours, x, shortcut, grad)
    doubles = [None if t is None else t.double() for t in (x, shortcut)]
    truth = results(copy.deepcopy(exact), *doubles, grad.double(), found[0] > 0)
    truth[0] = rectified(exact, *doubles)
    return list(zip(found, truth, strict=True))
