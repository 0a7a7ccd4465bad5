"""Someone's trained weights into a network of ours: safetensors files, never a pickle.

Names may be ours (also those of a run's checkpoint), or those of torchvision and of the common
CIFAR ResNets: `layer1.0.bn2.weight` is `blocks.stage1_0.norm2.weight` here, `fc` is `linear`, and
`downsample` or a numbered `shortcut` holds a projection. What they can't tell is the arm: with
option A both have the same names; nor which layer of a bottleneck strides: torchvision's need
model.stride_in_1x1=false.
"""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from degradation.config.validation import ConfigError
from degradation.system import files
from degradation.training import checkpoint

_OURS = [
    (r"^(module|model)\.", ""),  # DataParallel's, a wrapper's
    (r"^conv1\.", "conv."),
    (r"^bn1\.", "norm."),
    (r"^layer(\d+)\.(\d+)\.", r"blocks.stage\1_\2."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.(downsample|shortcut)\.0\.", ".shortcut.conv."),
    (r"\.(downsample|shortcut)\.1\.", ".shortcut.norm."),
    (r"^fc\.", "linear."),
]
_RUNS = "network."  # in our checkpoints
LISTED = 5


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, under our names. Raises ConfigError, checkpoint.CheckpointError."""
    try:
        content = files.read(path)
    except OSError as error:
        raise ConfigError(f"--weights {path}: {error.strerror}") from error
    if content[:2] == b"PK" or content[:1] == b"\x80":
        raise ConfigError(
            f"--weights {path}: a pickle can run any code, and is not read; where you trust it, "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), OTHER) converts it"
        )
    try:
        tensors = checkpoint.tensors(content)
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"--weights {path}: {error}") from error
    return named(tensors)


def named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors under our names; of a checkpoint of ours, the network's alone."""
    of_a_run = {name for name in tensors if name.startswith(_RUNS)}  # beside momenta and counts
    return {ours(name.removeprefix(_RUNS)): tensor for name, tensor in tensors.items()
            if name in of_a_run or not of_a_run}  # fmt: skip


def ours(name: str) -> str:
    """What we call a tensor."""
    for pattern, replacement in _OURS:
        name = re.sub(pattern, replacement, name)
    return name


def fit(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Fill the network's state, whole. Raises ConfigError with the names that don't fit."""
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("_tracked")}
    missing = [name for name in state if name not in tensors]
    unknown = [n for n in tensors if n not in state and not n.endswith("_tracked")]
    odd = [f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
           for name, tensor in state.items()
           if name in tensors and tensors[name].shape != tensor.shape]  # fmt: skip
    wrong = {"missing": missing, "unknown": unknown, "of another shape": odd}
    lines = [f"  {what}: {_named(names)}" for what, names in wrong.items() if names]
    if lines:
        raise ConfigError("the weights are not of this network; check model, depth, model.shortcut, "
                      "model.width and data\n" + "\n".join(lines))  # fmt: skip
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(tensors[name])


def _named(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
