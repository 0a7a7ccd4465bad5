"""Layer responses of trained networks, as in Figure 7 (Sec. 4.2, "Analysis of Layer Responses").

    degradation responses [runs/ | runs/NAME …]
    degradation responses --weights FILE.safetensors data=cifar10 model=residual depth=56

For each finished run, or for weights from elsewhere (weights.py; the words are those of
`degradation.run`, and the images are prepared as ours are: less their mean): the standard
deviation of each 3×3 layer's output after batch normalisation, before the nonlinearity and the
addition, over the test images in eval mode, in layer order. It goes to `responses.csv` in the
run's folder (layer, name, response_std), for `analysis/plot_curves.py`; that of a weights file to
FILE.responses.csv and the screen.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from degradation.config import study
from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.loaders import Exams, exam
from degradation.evaluation import weights
from degradation.runs.run_dir import RunDir, RunDirError, runs_in
from degradation.system import console, files
from degradation.training import checkpoint
from degradation.training.state import fresh
from degradation.training.step import forward


class Spread:
    """The standard deviation of all numbers it is given, in float64."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, x: Tensor) -> None:
        x = x.double()
        self.count += x.numel()
        self.sum += float(x.sum())
        self.squares += float(x.square().sum())

    @property
    def std(self) -> float:
        mean = self.sum / self.count
        return float(max(self.squares / self.count - mean**2, 0.0) ** 0.5)


def responses(network: nn.Module, images: Exams, precision: str = "fp32") -> dict[str, float]:
    """The response of each 3×3 layer by its normalisation's name, in layer order."""
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and "shortcut" not in name
    }
    spreads = {name: Spread() for name in layers}
    hooks = [layers[name].register_forward_hook(_listener(spreads[name])) for name in layers]
    network.eval()
    try:
        with torch.no_grad():
            for x, _ in images:
                forward(network, x, precision)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: spread.std for name, spread in spreads.items()}


def _listener(spread: Spread) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def listen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        spread.add(output)

    return listen


def probe(run: RunDir) -> dict[str, float]:
    """The responses of a run's newest state. Raises RunDirError where it has none."""
    content = checkpoint.newest(run.checkpoints)
    if content is None:
        raise RunDirError(f"{run.folder} has no checkpoint; train the run first")
    return of_weights(run.config(), weights.named(checkpoint.decode(content)[0]))


def table(found: dict[str, float]) -> str:
    """The responses as CSV."""
    lines = [f"{i},{name},{std!r}" for i, (name, std) in enumerate(found.items(), 1)]
    return "\n".join(["layer,name,response_std", *lines, ""])


def probe_file(arguments: Sequence[str]) -> int:
    """Probe the weights in a file: its path, then what the network is; 2 where it isn't."""
    try:
        if not arguments:
            raise ConfigError("--weights: needs FILE.safetensors, then data=…, model=…, depth=…")
        path = Path(arguments[0])
        asked = study.settings(study.Line.read(arguments[1:]))
        if len(asked) != 1:
            raise ConfigError(
                f"--weights {path}: names {len(asked)} networks; give one model, depth"
            )
        found = of_weights(asked[0].config, weights.read(path))
        out = path.with_suffix(".responses.csv")
        files.write_atomically(out, table(found).encode())
    except (ValueError, files.StorageError) as error:
        return _refused(error)
    print(table(found), end="")
    print(out, file=sys.stderr)
    return 0


def _refused(error: Exception) -> int:
    print(console.escape_control_chars(str(error)), file=sys.stderr)
    return 5 if isinstance(error, files.StorageError) else 2


def of_weights(config: RunConfig, tensors: dict[str, Tensor]) -> dict[str, float]:
    """The responses of a network with given weights. Raises ConfigError where they don't fit."""
    images = sources.load(config.data)
    net = fresh(config, images, torch.device("cpu")).network
    weights.fit(net, tensors)
    test = exam(images, "test", torch.device("cpu"), "auto")
    found = responses(net, test, config.numerics.precision)
    if not found:
        raise ConfigError("model.norm=false: a response is what batch normalisation gives")
    return found


def main(arguments: list[str]) -> int:
    """Probe the named runs, all finished ones of a folder, or a weights file; 2 where one can't be
    read, 5 where the disk refuses."""
    console.show_messages()
    torch.set_num_threads(1)
    if arguments[:1] == ["--weights"]:
        return probe_file(arguments[1:])
    runs: list[RunDir] = []
    try:
        for folder in map(Path, arguments or ["runs"]):
            named = (folder / "config.json").exists()
            found = (
                [RunDir(folder)] if named else [r for r in runs_in(folder) if r.state() == "done"]
            )
            if not found:
                raise RunDirError(f"{folder}: must be a run, or a folder with a finished one; usage: "
                              "degradation responses [runs/ | runs/NAME …]")  # fmt: skip
            runs += found
        for run in tqdm(runs, desc="probe", unit="run", disable=None):
            files.write_atomically(run.responses, table(probe(run)).encode())
    except (ValueError, files.StorageError) as error:
        return _refused(error)
    print(f"{len(runs)} runs: responses.csv in each; figure 7: python analysis/plot_curves.py")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
