"""numerics.fused: kernels in Triton that give what torch's layers give, rounded less.

Without a GPU they run in Triton's interpreter, which must be chosen before Triton is imported:
`test_by_the_interpreter` runs this file once more, in a process that has chosen it. There, as on a
real GPU (`pytest -m gpu`), results are held to double precision. What the kernels cost:
test_triton_cost.py.
"""

import copy
import os
import re
import subprocess
import sys
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

from degradation.models import resnet
from degradation.models.kernels import gpu
from degradation.models.layers import rectified
from degradation.training.devices.cuda_graph import CudaGraph
from degradation.training.devices.engine import Engine
from degradation.training.devices.synthetic_run import noise as noise_images
from degradation.training.state import fresh
from tests.models.conftest import (
    INTERPRETED,
    KERNELS,
    Instead,
    beside_double,
    network,
    noise,
    off,
    results,
    twins,
)
from tests.training.devices.cuda_stand_in import Cuda

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_A_GPU = pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])
# What storing maps may cost, in parts of their norm. A GPU rounds to the nearest number of
# bfloat16; the interpreter cuts the last places off, which costs up to twice as much.
ROUNDING = {torch.float32: 5e-7, torch.bfloat16: 2**-7 if INTERPRETED else 2**-8}
OF_SUMS = 2e-6
"""The same of what is summed over all pixels: gradients of weight and bias, running averages."""

runs_kernels = pytest.mark.parametrize("device", ["cpu"] if INTERPRETED else [ON_A_GPU])
"""Of tests for the interpreter and for a GPU."""
in_float32_and_bfloat16 = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"]
)
too_large = pytest.mark.skipif(INTERPRETED, reason="takes minutes where kernels are interpreted")


CASES = [
    pytest.param((4, 16, 24, 32), 0, None, id="several tiles a program, all whole"),
    pytest.param((2, 24, 13, 13), 30, None, id="odd sides"),
    pytest.param((3, 8, 7, 5), 0, None, id="less than a tile"),
    pytest.param((9, 33, 11, 12), 30, None, id="a tile of channels that holds one"),
    pytest.param((128, 64, 1, 1), 0, None, id="one pixel"),
    pytest.param((5, 1, 3, 2), 0, None, id="one channel"),
    pytest.param((12, 16, 16, 17), 1000, None, id="a mean far from zero"),
    pytest.param((8, 16, 16, 16), 0, 4, id="ghost batches"),
    pytest.param((7, 40, 9, 9), 30, 3, id="a last ghost batch of one image"),
    pytest.param((1, 16, 4, 4), 0, 8, id="no ghost batch is full"),
    pytest.param((300, 16, 31, 33), 30, None, marks=too_large, id="large"),
    pytest.param((250, 64, 31, 33), 0, 32, marks=too_large, id="large ghost batches"),
]


@runs_kernels
@in_float32_and_bfloat16
@pytest.mark.parametrize("with_shortcut", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize(("shape", "mean", "ghost"), CASES)
def test_normalized_added_and_rectified(
    shape, mean, ghost, with_shortcut, dtype, device, kernels
) -> None:
    """No further from double precision than rounding what is stored.

    The mean is stored in float32, which may cost 2**-24 of it, in parts of the deviation of 3.
    """
    x, shortcut, grad = (noise(*shape, device=device) for _ in range(3))
    given = (x * 3 + mean).to(dtype), shortcut.to(dtype) if with_shortcut else None
    pairs = beside_double(*twins(gpu.use, shape[1], ghost, device), *given, grad.to(dtype))
    print(shape, dtype, *(f"{off(*pair):.1e}" for pair in pairs))
    for own, true in pairs:
        assert own.dtype == (dtype if own.ndim == 4 else torch.float32)
        assert off(own, true) <= (ROUNDING[dtype] if own.ndim == 4 else OF_SUMS) + 2**-24 * mean / 3
    assert pairs[0][0].is_contiguous(memory_format=torch.channels_last)


@runs_kernels
@pytest.mark.parametrize("with_shortcut", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("of", ["input", "gradient"])
def test_nan_stays_nan(of, with_shortcut, device, kernels) -> None:
    """In its channel alone; or a run that diverges would look as if it hadn't."""
    norm, _ = twins(gpu.use, 8, device=device)
    x, shortcut, grad = (noise(2, 8, 4, 4, device=device) for _ in range(3))
    added = shortcut if with_shortcut else None
    y = results(norm, x, added, grad)[0]
    image, _, row, column = (y[:, 3:4] > 0).nonzero()[0].tolist()
    (x if of == "input" else grad)[image, 3, row, column] = torch.nan
    y, of_x, *rest = results(norm, x, added, grad)
    *_, of_weight, of_bias, mean, var = rest
    alone = [i == 3 for i in range(8)]
    for maps in (of_x, y) if of == "input" else (of_x,):
        assert maps[:, 3].isnan().all()
        assert maps.isnan().any(3).any(2).any(0).tolist() == alone
    for each in (of_weight, mean, var) if of == "input" else (of_weight, of_bias):
        assert each.isnan().tolist() == alone


@runs_kernels
@in_float32_and_bfloat16
@pytest.mark.parametrize("shape", [(12, 16, 16, 17), (5, 80, 11, 12)])
def test_twice_the_same_bits(shape, dtype, device, kernels) -> None:
    """Of many programs; and of maps of other strides, and a gradient that a mean's backward has
    expanded, which are copied first."""
    norm, _ = twins(gpu.use, shape[1], device=device)
    x, shortcut = (noise(*shape, device=device, dtype=dtype) for _ in range(2))
    grad = noise(*shape[:2], 1, 1, device=device, dtype=dtype).expand(shape)
    state = copy.deepcopy(norm.state_dict())
    usual = x, shortcut, grad.contiguous(memory_format=torch.channels_last)
    found = []
    for given in (usual, usual, (x.contiguous(), shortcut.contiguous(), grad)):
        norm.load_state_dict(state)
        found.append([tensor.clone() for tensor in results(norm, *given)])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@runs_kernels
def test_what_torch_refuses_and_what_is_left_to_it(device, kernels) -> None:
    """A channel of one value has no deviation; evaluation is torch's own."""
    norm, exact = twins(gpu.use, 8, 2, device)
    for images in (1, 3):
        with pytest.raises(ValueError, match="more than one value per channel"):
            rectified(norm, noise(images, 8, 1, 1, device=device))
    x = noise(2, 8, 4, 4, device=device)
    assert torch.equal(rectified(norm.eval(), x), rectified(exact.float().eval(), x))


def batch(device: str) -> tuple[Tensor, Tensor]:
    return noise(16, 1, 8, 8, device=device), torch.randint(10, (16,)).to(device)


def gradients(net: nn.Module, x: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """The loss, and the gradients of all parameters as one vector."""
    loss = functional.cross_entropy(resnet.forward(net, x, precision), labels)
    found = torch.autograd.grad(loss, list(net.parameters()))
    return loss.detach(), torch.cat([grad.flatten() for grad in found])


@runs_kernels
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
def test_fused_is_unfused_but_for_rounding(shortcut, precision, device, kernels) -> None:
    """A whole network's gradient is at most twice as far from double precision as by torch, or a
    hundredth of its norm in bfloat16, 1e-5 in float32.

    The median of some batches: rounding may move a number over ReLU's edge, which costs more.
    """
    fused, unfused, exact = (network(own, shortcut).to(device) for own in (True, False, False))
    exact.double()
    distances, least = [], 1e-2 if precision == "bf16" else 1e-5
    for seed in range(1 if INTERPRETED else 5):
        torch.manual_seed(seed)
        x, labels = batch(device)
        loss, truth = gradients(exact, x.double(), labels, "fp32")
        ours, torchs = (gradients(net, x, labels, precision) for net in (fused, unfused))
        assert not torch.equal(ours[1], torchs[1])  # or the kernels had no part in it
        assert float(ours[0]) == pytest.approx(float(loss), rel=least)
        distances.append((off(ours[1], truth), off(torchs[1], truth)))
    own, theirs = (median(column) for column in zip(*distances, strict=True))
    assert own <= max(2 * theirs, least)
    assert own < 100 * least  # of either, or the network is none to compare them on


def taped(kernel: Any, cuda: Cuda) -> Instead:
    """A kernel whose launches the stand-in's graph records among torch's operations."""
    name = f"triton::{kernel.fn.__name__}"
    schema = SimpleNamespace(name=name, overload_name="", is_mutable=True)

    def launch(grid: tuple[int, int, int], *args: Any, **constants: Any) -> None:
        operation: Any = partial(kernel[grid], **constants)
        operation._schema = schema
        # The interpreter copies its arguments by torch's operations: none of the step's.
        with _disable_current_modes():
            if cuda.is_capturing:
                cuda.captures[-1].tape.__torch_dispatch__(operation, (), args)
            else:
                operation(*args)

    return Instead(launch)


@runs_kernels
@pytest.mark.parametrize(("shortcut", "precision"), [("none", "fp32"), ("identity", "bf16")])
def test_a_captured_step_has_the_bits_of_launched_ones(
    shortcut, precision, device, kernels, small, monkeypatch
) -> None:
    """Twice three launched steps, and three replays; on the CPU, of a stand-in's graph."""
    config = small(model__shortcut=shortcut, numerics__fused=True, numerics__precision=precision)
    where, as_if = torch.device(device), torch.device(device)
    if device == "cpu":
        as_if = torch.device("cuda", 1)
        cuda = Cuda(as_if).install(monkeypatch)
        for name in KERNELS:
            monkeypatch.setattr(kernels, name, taped(getattr(kernels, name), cuda))
    states = []
    for capture in (None, None, CudaGraph):
        state = fresh(config, noise_images(16, side=8, channels=1), where)
        engine = Engine(config.numerics, state, as_if, capture)
        for step in range(3):
            torch.manual_seed(step)
            engine.train_step(*batch(device), lr=0.05 / (1 + step))
        engine.finish()
        states.append({name: tensor.clone() for name, tensor in state.tensors().items()})
    for other in states[1:]:
        for name, tensor in states[0].items():
            assert torch.equal(tensor, other[name]), name
    if device == "cpu":
        [capture] = cuda.captures
        assert capture.replays == 3
        assert {capture.tape.kernels[f"triton::{name}"] for name in KERNELS} == {7}


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="is in that process")
def test_by_the_interpreter(kernels) -> None:
    """What is above and not a GPU's alone, in a process that interprets the kernels."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([*command, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 55
