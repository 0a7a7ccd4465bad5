"""Trained weights into a network: those of a finished run, or someone else's.

Names may be those of this project, or those of torchvision and of the common CIFAR ResNets: their
`layer1.0.bn2.weight` is `blocks.stage1_0.norm2.weight` here, `fc` is `linear`, and `downsample` or
a numbered `shortcut` holds a projection. Names can't tell the arm (with option A both have the
same), nor which layer of a bottleneck strides: torchvision's need model.stride_in_1x1=false.

    weights.fit(network, weights.named(safetensors.torch.load_file(FILE)))
"""

import re

import torch
from torch import Tensor, nn

from degradation.config.validation import ConfigError
from degradation.data.sources import Source
from degradation.models.resnet import Network
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.training import checkpoint
from degradation.training.state import initial_network

RENAMED = [
    (r"^(module|model)\.", ""),  # of DataParallel and other wrappers
    (r"^conv1\.", "conv."),
    (r"^bn1\.", "norm."),
    (r"^layer(\d+)\.(\d+)\.", r"blocks.stage\1_\2."),
    (r"\.bn(\d)\.", r".norm\1."),
    (r"\.(downsample|shortcut)\.0\.", ".shortcut.conv."),
    (r"\.(downsample|shortcut)\.1\.", ".shortcut.norm."),
    (r"^fc\.", "linear."),
]
IN_CHECKPOINTS = "network."
MESSAGE = 1000
"""Characters of torch's message, which may name thousands of tensors."""


def trained_network(run: RunDir, source: Source, device: torch.device) -> Network:
    """The network of a run's newest checkpoint. Raises RunDirError where none is whole."""
    content = checkpoint.newest(run.checkpoints)
    if content is None:
        raise RunDirError(f"{run.folder} has no checkpoint; train the run first")
    tensors, _ = checkpoint.decode(content)
    network = initial_network(run.config(), source, device)
    fit(network, named(tensors))
    return network


def named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors under the names of this project; of a checkpoint, the network's alone."""
    of_network = {name for name in tensors if name.startswith(IN_CHECKPOINTS)} or tensors.keys()
    renamed = {}
    for name in of_network:
        own = name.removeprefix(IN_CHECKPOINTS)
        for pattern, replacement in RENAMED:
            own = re.sub(pattern, replacement, own)
        renamed[own] = tensors[name]
    return renamed


def fit(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Fill the network's whole state. Raises ConfigError with the names that don't fit."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigError(
            "the weights are not of this network; check model, depth, model.shortcut, model.width "
            f"and data: {str(error)[:MESSAGE]}"
        ) from error
