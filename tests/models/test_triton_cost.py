"""numerics.fused: what a step costs with it, counted, and the kernels as machine code.

Machine code is compiled for two GPUs that need not be there.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from degradation.config.validation import ConfigError
from degradation.models import kernels as room
from degradation.models import resnet
from degradation.models.kernels import gpu
from degradation.models.kernels.weight_casts import bfloat16_weights
from degradation.training.devices import device as devices
from tests.conftest import Calls
from tests.models.conftest import KERNELS, Instead, network


def counted(name: str, found: Counter[str]) -> Instead:
    """In a kernel's place: counts its launches, and the maps that it reads or writes."""

    def launch(grid: tuple[int, int, int], *args: Any, **constants: Any) -> None:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        maps = {t.data_ptr() for t in tensors if t.ndim == 4 and t.dtype == torch.bfloat16}
        found[name] += 1
        found["passes"] += len(maps)

    return Instead(launch)


def of_a_step(net: nn.Module, cast_at_once: bool) -> tuple[Counter[str], Tensor]:
    """Torch's operations in a step forward and backward in bfloat16; and the logits."""
    torch.manual_seed(0)
    x = torch.randn(4, 1, 16, 16)
    with Calls() as calls:
        logits = resnet.forward(net, x, "bf16", cast_at_once)
        logits.square().sum().backward()
    return calls.count, logits.detach()


# Of what torch launches for an operation on a GPU, by the sources of ATen: kernels, and passes over
# a convolution's output. A backward convolution gives two gradients; what is cast are weights.
OF_TORCH = {
    "convolution": (1, 2),
    "native_batch_norm": (3, 3),
    "add": (1, 3),
    "relu": (1, 2),
    "threshold_backward": (1, 3),
    "native_batch_norm_backward": (2, 5),
    "convolution_backward": (2, 4),
    "_to_copy": (1, 0),
}
FREE = {"new_empty", "empty", "empty_like", "detach", "view", "slice", "_foreach_copy_"}
"""Neither launches nor, as one operation for all layers, grows with their number."""


@pytest.mark.parametrize(
    ("shortcut", "torchs", "own"),
    [("none", (12, 19), (7, 14)), ("identity", (13, 22), (7.5, 17))],
)
def test_kernels_and_passes_of_a_layer(shortcut, torchs, own, kernels, monkeypatch) -> None:
    """What BENCHMARKS.md counts: six layers more, launched one by one, and by the kernels."""
    launched = Counter[str]()
    for name in KERNELS:
        monkeypatch.setattr(kernels, name, counted(name, launched))
    for fused, expected in ((False, torchs), (True, own)):
        fewer, without = of_a_step(network(fused, shortcut), fused)[0], launched.copy()
        more = of_a_step(network(fused, shortcut, depth=14), fused)[0] - fewer
        launched -= without + without
        of_torch = [OF_TORCH[name.rstrip("_")] for name in more.elements() if name not in FREE]
        count, passes = (sum(numbers) for numbers in zip(*of_torch, strict=True))
        count += sum(launched[name] for name in KERNELS)
        assert (count / 6, (passes + launched["passes"]) / 6) == expected
    assert {launched[name] for name in KERNELS} == {6}


@pytest.mark.parametrize("shortcut", ["none", "projection"])
def test_weights_cast_at_once_are_autocasts(shortcut) -> None:
    """Equal bits, in two operations for all layers instead of two for each weight."""
    one, other = network(False, shortcut), network(False, shortcut)
    (one_by_one, y), (together, same) = of_a_step(one, False), of_a_step(other, True)
    assert torch.equal(y, same)
    for parameter, equal in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter.grad, equal.grad)
        assert equal.grad.dtype == torch.float32
    weights = sum(p.ndim > 1 for p in one.parameters()) + 1  # and the linear layer's bias
    assert one_by_one["_to_copy"] - together["_to_copy"] == 2 * weights
    assert together["_foreach_copy_"] == 2
    assert together["clone"] == one_by_one["clone"]  # the gradients are taken, not copied


def test_a_weight_without_a_gradient_gets_none() -> None:
    net = network(False, "none")
    bfloat16_weights(net)["conv.weight"].float().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is not None] == ["conv.weight"]


@pytest.mark.parametrize("shape", [(16, 4, 8, 8), (128, 16, 32, 32), (256, 64, 56, 56)])
@pytest.mark.parametrize("ghost", [None, 3, 16, 500])
def test_programs_cover_all_pixels_once(shape, ghost, kernels) -> None:
    plan = kernels.Plan.of(torch.Size(shape), ghost)
    blocks, columns, groups = plan.grid
    sizes = [len(part) for part in torch.arange(shape[0]).split(ghost or shape[0])]
    assert groups == len(sizes)
    assert plan.smallest == sizes[-1] * shape[2] * shape[3]
    assert (blocks - 1) * plan.chunk < plan.group_pixels <= blocks * plan.chunk
    assert (columns - 1) * plan.tile[1] < shape[1] <= columns * plan.tile[1]
    assert plan.chunk % plan.tile[0] == 0
    assert blocks <= kernels.PARTIALS
    assert blocks * columns * groups <= max(kernels.PROGRAMS, columns * groups)


MAPS = {"x", "y", "shortcut", "grad", "through", "of_x"}
TYPES = {
    **dict.fromkeys(("pixels", "group_pixels", "chunk"), "i32"),
    **dict.fromkeys(("epsilon", "share"), "fp32"),
}


def machine_code(kernel: Any, plan: Any, dtype: str, with_shortcut: bool, capability: int) -> Any:
    """A kernel compiled as a launch would compile it, for a GPU that need not be there."""
    from triton import compile as compiled
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {**plan.combining, "SHORTCUT": with_shortcut}
    options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    pointers = {name: f"*{dtype if name in MAPS else 'fp32'}" for name in kernel.arg_names}
    signature = pointers | {name: t for name, t in TYPES.items() if name in pointers}
    signature |= dict.fromkeys(constants, "constexpr")
    # What a launch finds out of its arguments: they are multiples of 16.
    aligned = [i for i, t in enumerate(signature.values()) if t.startswith("*") or t == "i32"]
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    source = ASTSource(kernel, signature, constants, attributes)
    return compiled(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(binary: bytes, folder: Path) -> dict[str, int]:
    """Registers a thread (REG), and bytes a thread spills (STACK, LOCAL), of machine code."""
    from triton import knobs

    code = folder / "kernel.cubin"
    code.write_bytes(binary)
    command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(code)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"\b([A-Z]+):(\d+)", text)}


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    "shape", [(128, 16, 32, 32), (128, 64, 8, 8), (256, 64, 56, 56), (128, 33, 32, 32)]
)
@pytest.mark.parametrize("name", KERNELS)
def test_machine_code(name, shape, capability, kernels, tmp_path: Path) -> None:
    """For an A100 and an H100: no register is spilled, nothing is added in the order of arrival,
    and where all channels fill their tiles, loads and stores are of 16 bytes."""
    kernel, plan = getattr(kernels, name), kernels.Plan.of(torch.Size(shape), None)
    shortcuts = (False, True) if "SHORTCUT" in kernel.arg_names else (False,)
    for dtype, with_shortcut in [(d, s) for d in ("fp32", "bf16") for s in shortcuts]:
        built = machine_code(kernel, plan, dtype, with_shortcut, capability)
        used, code = resources(built.asm["cubin"], tmp_path), built.asm["ptx"]
        print(f"sm_{capability} {name} {dtype} {shape[1]} {with_shortcut}: {used}")
        assert used["STACK"] == used["LOCAL"] == 0
        # Two programs at a time fit the 65,536 registers of a multiprocessor.
        assert 2 * 32 * kernels.WARPS * used["REG"] <= 65_536
        assert not re.search(r"\b(atom|red)\.", code)
        if shape[1] % plan.tile[1] == 0:
            assert "ld.global.v4" in code
            assert not re.search(r"(ld|st)\.global\.b16", code)
        if dtype == "bf16" and "st.global.v4" in code:
            assert re.search(r"cvt\.rn\.bf16(x2)?\.f32", code)


def test_triton_is_missed_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "degradation.models.kernels.triton_rectified"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(room, "triton_rectified", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    for asked in (lambda: gpu.use(nn.Identity()), gpu.versions):
        with pytest.raises(ConfigError, match=r"numerics\.fused=true: needs the package triton"):
            asked()


def test_the_fingerprint_of_a_run_names_tritons_version(kernels, small) -> None:
    marks = devices.fingerprint(small(numerics__fused=True), torch.device("cpu"))
    assert marks["triton"] == sys.modules["triton"].__version__
