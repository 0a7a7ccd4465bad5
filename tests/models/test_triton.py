"""numerics.fused: kernels in Triton that give what torch's layers give, rounded less.

Without a GPU they run in Triton's interpreter, which must be chosen before Triton is imported:
`test_by_the_interpreter` runs this file once more, in a process that has chosen it. There, as on a
real GPU (`pytest -m gpu`), results are held to double precision. Machine code for two GPUs that
need not be there is compiled in this process.
"""

import copy
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from degradation.config.validation import ConfigError
from degradation.models import kernels as room
from degradation.models import resnet
from degradation.models.init import build
from degradation.models.kernels import gpu
from degradation.models.kernels.weight_casts import bfloat16_weights
from degradation.models.layers import BatchNorm, rectified
from degradation.training.devices.cuda_graph import CudaGraph
from degradation.training.devices.engine import Engine
from degradation.training.devices.synthetic_run import noise as noise_images
from degradation.training.state import fresh
from tests.training.cuda_stand_in import Cuda

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_A_GPU = pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])
KERNELS = ["_statistics", "_normalize", "_reductions", "_input_gradient"]
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
not_interpreted = pytest.mark.skipif(INTERPRETED, reason="needs no interpreter")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module. Interpreted programs are slow, one after the other: so they are few, and large
    maps have several tiles for each."""
    pytest.importorskip("triton", reason="needs triton, which torch's CUDA build brings")
    module = gpu.load()
    if INTERPRETED:
        monkeypatch.setattr(module, "PARTIALS", 3)
    return module


@pytest.fixture
def strict() -> Iterator[None]:
    """cuDNN without TF32 and without the algorithms that add in any order."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def noise(device: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """The same numbers on every device."""
    return torch.randn(shape).to(device, dtype).contiguous(memory_format=torch.channels_last)


def off(ours: Tensor, truth: Tensor) -> float:
    return float((ours.double() - truth).detach().norm() / truth.detach().norm())


def layers(channels: int, ghost: int | None, device: str) -> tuple[BatchNorm, BatchNorm]:
    """Two equal layers: by the kernels, and by torch in double precision."""
    torch.manual_seed(0)
    ours, exact = (BatchNorm(channels, ghost).to(device) for _ in range(2))
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    exact.load_state_dict(ours.state_dict())
    gpu.use(ours)
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
    shape: tuple[int, int, int, int],
    mean: float,
    ghost: int | None,
    with_shortcut: bool,
    dtype: torch.dtype,
    device: str,
    kernels: Any,
) -> None:
    """No further from double precision than rounding what is stored.

    The mean is stored in float32, which may cost 2**-24 of it, in parts of the deviation of 3.
    """
    ours, exact = layers(shape[1], ghost, device)
    x, shortcut, grad = (noise(device, shape) for _ in range(3))
    given = [(x * 3 + mean).to(dtype), shortcut.to(dtype) if with_shortcut else None]
    doubles = [None if t is None else t.double() for t in given]
    found = results(ours, *given, grad.to(dtype))
    # Gradients are compared where ReLU lets the same through.
    mask = found[0] > 0
    truth = results(copy.deepcopy(exact), *doubles, grad.to(dtype).double(), mask)
    truth[0] = rectified(exact, *doubles)
    print(shape, dtype, *(f"{off(*pair):.1e}" for pair in zip(found, truth, strict=True)))
    for own, true in zip(found, truth, strict=True):
        assert own.dtype == (dtype if own.ndim == 4 else torch.float32)
        assert off(own, true) <= (ROUNDING[dtype] if own.ndim == 4 else OF_SUMS) + 2**-24 * mean / 3
    assert found[0].is_contiguous(memory_format=torch.channels_last)


@runs_kernels
@pytest.mark.parametrize("with_shortcut", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("of", ["input", "gradient"])
def test_nan_stays_nan(of: str, with_shortcut: bool, device: str, kernels: Any) -> None:
    """In its channel alone; or a run that diverges would look as if it hadn't."""
    norm, _ = layers(8, None, device)
    x, shortcut, grad = (noise(device, (2, 8, 4, 4)) for _ in range(3))
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
def test_twice_the_same_bits(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, kernels: Any
) -> None:
    """Of many programs; and of maps of other strides, and a gradient that a mean's backward has
    expanded, which are copied first."""
    norm, _ = layers(shape[1], None, device)
    x, shortcut = noise(device, shape, dtype), noise(device, shape, dtype)
    grad = noise(device, (*shape[:2], 1, 1), dtype).expand(shape)
    state = copy.deepcopy(norm.state_dict())
    usual = x, shortcut, grad.contiguous(memory_format=torch.channels_last)
    found = []
    for given in (usual, usual, (x.contiguous(), shortcut.contiguous(), grad)):
        norm.load_state_dict(state)
        found.append([tensor.clone() for tensor in results(norm, *given)])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@runs_kernels
def test_what_torch_refuses_and_what_is_left_to_it(device: str, kernels: Any) -> None:
    """A channel of one value has no deviation; evaluation is torch's own."""
    norm, exact = layers(8, 2, device)
    for images in (1, 3):
        with pytest.raises(ValueError, match="more than one value per channel"):
            rectified(norm, noise(device, (images, 8, 1, 1)))
    x = noise(device, (2, 8, 4, 4))
    assert torch.equal(rectified(norm.eval(), x), rectified(exact.float().eval(), x))


def network(fused: bool, shortcut: str, small: Callable[..., Any], depth: int = 8) -> nn.Module:
    model = small(model__width=8, model__shortcut=shortcut).model
    net = build(model, depth, 1, 10, 0, "fan_in").to(memory_format=torch.channels_last)
    if fused:
        gpu.use(net)
    return net


def gradients(net: nn.Module, x: Tensor, labels: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """The loss, and the gradients of all parameters as one vector."""
    loss = functional.cross_entropy(resnet.forward(net, x, precision), labels)
    found = torch.autograd.grad(loss, list(net.parameters()))
    return loss.detach(), torch.cat([grad.flatten() for grad in found])


@runs_kernels
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shortcut", ["none", "identity", "projection"])
def test_fused_is_unfused_but_for_rounding(
    shortcut: str, precision: str, device: str, kernels: Any, strict: None, small: Any
) -> None:
    """A whole network's gradient is at most twice as far from double precision as by torch, or a
    hundredth of its norm in bfloat16, 1e-5 in float32.

    The median of some batches: rounding may move a number over ReLU's edge, which costs more.
    """
    fused, unfused, exact = (
        network(own, shortcut, small).to(device) for own in (True, False, False)
    )
    exact.double()
    distances, least = [], 1e-2 if precision == "bf16" else 1e-5
    for seed in range(1 if INTERPRETED else 5):
        torch.manual_seed(seed)
        x, labels = noise(device, (16, 1, 8, 8)), torch.randint(10, (16,)).to(device)
        loss, truth = gradients(exact, x.double(), labels, "fp32")
        ours, torchs = (gradients(net, x, labels, precision) for net in (fused, unfused))
        assert not torch.equal(ours[1], torchs[1])  # or the kernels had no part in it
        assert float(ours[0]) == pytest.approx(float(loss), rel=least)
        distances.append((off(ours[1], truth), off(torchs[1], truth)))
    own, theirs = (median(column) for column in zip(*distances, strict=True))
    assert own <= max(2 * theirs, least)
    assert own < 100 * least  # of either, or the network is none to compare them on


class Launch:
    """A kernel's launch in the form of one of torch's operations, for a tape to record."""

    def __init__(self, kernel: Any, grid: tuple[int, int, int], constants: dict[str, Any]) -> None:
        self.kernel, self.grid, self.constants = kernel, grid, constants
        name = f"triton::{kernel.fn.__name__}"
        self._schema = SimpleNamespace(name=name, overload_name="", is_mutable=True)

    def __call__(self, *args: Any) -> None:
        self.kernel[self.grid](*args, **self.constants)


class TapedKernel:
    """A kernel whose launches a stand-in's graph captures."""

    def __init__(self, kernel: Any, cuda: Cuda) -> None:
        self.kernel, self.cuda = kernel, cuda

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return partial(self.launch, grid)

    def launch(self, grid: tuple[int, int, int], *args: Any, **constants: Any) -> None:
        launch = Launch(self.kernel, grid, constants)
        # The interpreter copies its arguments by torch's operations: none of the step's.
        with _disable_current_modes():
            if self.cuda.is_capturing:
                self.cuda.captures[-1].tape.__torch_dispatch__(launch, (), args)
            else:
                launch(*args)


@runs_kernels
@pytest.mark.parametrize(("shortcut", "precision"), [("none", "fp32"), ("identity", "bf16")])
def test_a_captured_step_has_the_bits_of_launched_ones(
    shortcut: str, precision: str, device: str, kernels: Any, strict: None, small: Any, monkeypatch
) -> None:
    """Twice three launched steps, and three replays; on the CPU, of a stand-in's graph."""
    config = small(model__shortcut=shortcut, numerics__fused=True, numerics__precision=precision)
    where, as_if = torch.device(device), torch.device(device)
    if device == "cpu":
        as_if = torch.device("cuda", 1)
        cuda = Cuda(as_if).install(monkeypatch)
        for name in KERNELS:
            monkeypatch.setattr(kernels, name, TapedKernel(getattr(kernels, name), cuda))
    states = []
    for capture in (None, None, CudaGraph):
        state = fresh(config, noise_images(16, side=8, channels=1), where)
        engine = Engine(config.numerics, state, as_if, capture)
        for step in range(3):
            torch.manual_seed(step)
            x, labels = noise(device, (16, 1, 8, 8)), torch.randint(10, (16,)).to(device)
            engine.train_step(x, labels, lr=0.05 / (1 + step))
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
@not_interpreted
def test_by_the_interpreter(kernels: Any) -> None:
    """What is above and not a GPU's alone, in a process that interprets the kernels."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not gpu"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([*command, __file__], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 55


class Calls(TorchDispatchMode):
    """Counts torch's operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Counter[str]()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.found[operation.overloadpacket.__name__.strip("_")] += 1
        return operation(*args, **(kwargs or {}))


class CountedKernel:
    """In a kernel's place: counts its launches, and the maps that it reads or writes."""

    def __init__(self, name: str, found: Counter[str]) -> None:
        self.name, self.found = name, found

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return self.launch

    def launch(self, *args: Any, **constants: Any) -> None:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        maps = {t.data_ptr() for t in tensors if t.ndim == 4 and t.dtype == torch.bfloat16}
        self.found[self.name] += 1
        self.found["passes"] += len(maps)


def calls(net: nn.Module, cast_at_once: bool) -> tuple[Counter[str], Tensor]:
    """Torch's operations in a step forward and backward in bfloat16; and the logits."""
    torch.manual_seed(0)
    x = torch.randn(4, 1, 16, 16)
    with Calls() as counted:
        logits = resnet.forward(net, x, "bf16", cast_at_once)
        logits.square().sum().backward()
    return counted.found, logits.detach()


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
    "to_copy": (1, 0),
}
FREE = {"new_empty", "empty", "empty_like", "detach", "view", "slice", "foreach_copy"}
"""Neither launches nor, as one operation for all layers, grows with their number."""


@not_interpreted
@pytest.mark.parametrize(
    ("shortcut", "torchs", "own"),
    [("none", (12, 19), (7, 14)), ("identity", (13, 22), (7.5, 17))],
)
def test_kernels_and_passes_of_a_layer(
    shortcut: str, torchs: Any, own: Any, kernels: Any, small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What BENCHMARKS.md counts: six layers more, launched one by one, and by the kernels."""
    launched = Counter[str]()
    for name in KERNELS:
        monkeypatch.setattr(kernels, name, CountedKernel(name, launched))
    for fused, expected in ((False, torchs), (True, own)):
        fewer, without = calls(network(fused, shortcut, small), fused)[0], launched.copy()
        more = calls(network(fused, shortcut, small, depth=14), fused)[0] - fewer
        launched -= without + without
        counted = [OF_TORCH[name] for name in more.elements() if name not in FREE]
        count, passes = (sum(numbers) for numbers in zip(*counted, strict=True))
        count += sum(launched[name] for name in KERNELS)
        assert (count / 6, (passes + launched["passes"]) / 6) == expected
    assert {launched[name] for name in KERNELS} == {6}


@not_interpreted
@pytest.mark.parametrize("shortcut", ["none", "projection"])
def test_weights_cast_at_once_are_autocasts(shortcut: str, small: Any) -> None:
    """Equal bits, in two operations for all layers instead of two for each weight."""
    one, other = network(False, shortcut, small), network(False, shortcut, small)
    (one_by_one, y), (together, same) = calls(one, False), calls(other, True)
    assert torch.equal(y, same)
    for parameter, equal in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter.grad, equal.grad)
        assert equal.grad.dtype == torch.float32
    weights = sum(p.ndim > 1 for p in one.parameters()) + 1  # and the linear layer's bias
    assert one_by_one["to_copy"] - together["to_copy"] == 2 * weights
    assert together["foreach_copy"] == 2
    assert together["clone"] == one_by_one["clone"]  # the gradients are taken, not copied


@not_interpreted
def test_a_weight_without_a_gradient_gets_none(small: Any) -> None:
    net = network(False, "none", small)
    bfloat16_weights(net)["conv.weight"].float().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is not None] == ["conv.weight"]


@not_interpreted
@pytest.mark.parametrize("shape", [(16, 4, 8, 8), (128, 16, 32, 32), (256, 64, 56, 56)])
@pytest.mark.parametrize("ghost", [None, 3, 16, 500])
def test_programs_cover_all_pixels_once(
    shape: tuple[int, int, int, int], ghost: int | None, kernels: Any
) -> None:
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
@not_interpreted
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    "shape", [(128, 16, 32, 32), (128, 64, 8, 8), (256, 64, 56, 56), (128, 33, 32, 32)]
)
@pytest.mark.parametrize("name", KERNELS)
def test_machine_code(
    name: str, shape: tuple[int, int, int, int], capability: int, kernels: Any, tmp_path: Path
) -> None:
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


@not_interpreted
def test_triton_is_imported_where_it_is_used_alone(kernels: Any) -> None:
    assert gpu.versions() == {"triton": sys.modules["triton"].__version__}
    code = "import sys; from degradation.training import setup; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
