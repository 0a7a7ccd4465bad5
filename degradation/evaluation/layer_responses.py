"""Layer responses of trained networks, as in Figure 7 (Sec. 4.2, "Analysis of Layer Responses").

The response of a 3×3 layer is the standard deviation of its output after batch normalization,
before the nonlinearity and the addition, over the test images in eval mode.
"""

import torch
from torch import Tensor, nn

from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.device_loader import Placement, memory_format
from degradation.data.loaders import EvalLoader
from degradation.evaluation.weights import trained_network
from degradation.models.resnet import forward
from degradation.runs.run_dir import RunDir


@torch.no_grad()
def responses(network: nn.Module, images: EvalLoader, precision: str = "fp32") -> dict[str, float]:
    """The response of each 3×3 layer by the name of its normalization, in layer order."""
    sums: dict[str, Tensor] = {}

    def add(name: str, y: Tensor) -> None:
        y = y.double()
        sums[name] += torch.stack([y.sum(), y.square().sum(), y.new_tensor(y.numel())])

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and "shortcut" not in name:
            sums[name] = torch.zeros(3, dtype=torch.float64, device=module.weight.device)
            hooks.append(module.register_forward_hook(lambda _, x, y, n=name: add(n, y)))
    network.eval()
    try:
        for x, _ in images:
            forward(network, x, precision)
    finally:
        for hook in hooks:
            hook.remove()
    moments = {name: (each[:2] / each[2]).tolist() for name, each in sums.items()}
    return {name: max(square - mean**2, 0.0) ** 0.5 for name, (mean, square) in moments.items()}


def of_run(run: RunDir, device: torch.device) -> dict[str, float]:
    """The responses of a run's newest checkpoint.

    Raises RunDirError where it has none, ConfigError where its layers have no response.
    """
    config = run.config()
    if not config.model.norm:
        raise ConfigError(
            f"{run.name}: model.norm=false: a response is what batch normalization gives"
        )
    dataset = sources.load(config.data)
    network = trained_network(run, dataset, device)
    place = Placement(device, memory_format(config.numerics))
    images = loaders.eval_loader(dataset, "test", config, place)
    return responses(network, images, config.numerics.precision)


def csv(found: dict[str, float]) -> str:
    """The responses as the lines of `responses.csv`: layer (from 1), name, response_std."""
    lines = [f"{layer},{name},{std!r}" for layer, (name, std) in enumerate(found.items(), 1)]
    return "\n".join(["layer,name,response_std", *lines, ""])
