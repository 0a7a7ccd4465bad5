"""What the tests of the kernels in Triton share."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from degradation.models.init import build
from degradation.models.kernels import gpu
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
