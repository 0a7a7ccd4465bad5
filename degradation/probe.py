"""Layer responses of trained networks, as in Figure 7 (Sec. 4.2, "Analysis of Layer Responses").

    python -m degradation.probe [runs/ | runs/NAME …]

For each finished run: the standard deviation of each 3×3 layer's output after batch normalisation,
before the nonlinearity and the addition, over the test pictures in eval mode, in layer order. It
goes to `responses.csv` in the run's folder (layer, name, response_std), for
`analysis/plot_curves.py`.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from degradation import checkpoint, data, schema, screen, storage
from degradation.data.batches import Exam
from degradation.state import fresh
from degradation.step import forward
from degradation.store import Foreign, Run, runs_in


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


def responses(network: nn.Module, exam: Exam, precision: str = "fp32") -> dict[str, float]:
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
            for x, _ in exam:
                forward(network, x, precision)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: spread.std for name, spread in spreads.items()}


def _listener(spread: Spread) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def listen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        spread.add(output)

    return listen


def probe(run: Run) -> dict[str, float]:
    """The responses of a run's newest state. Raises Foreign where it has none."""
    point, content = run.point(), checkpoint.newest(run.checkpoints)
    if content is None:
        raise Foreign(f"{run.folder} has no checkpoint; train the point first")
    pictures = data.load(point.data)
    state = fresh(point, pictures, torch.device("cpu"))
    state.load(*checkpoint.decode(content))
    exam = Exam(pictures.test, pictures, torch.device("cpu"))
    return responses(state.network, exam, point.numerics.precision)


def main(arguments: list[str]) -> int:
    """Probe the named runs, or all finished ones of a folder; 2 where one can't be read, 5 where
    the disk refuses."""
    screen.show_messages()
    torch.set_num_threads(1)
    runs: list[Run] = []
    try:
        for folder in map(Path, arguments or ["runs"]):
            named = (folder / "point.json").exists()
            found = [Run(folder)] if named else [r for r in runs_in(folder) if r.state() == "done"]
            if not found:
                raise Foreign(f"{folder}: must be a run, or a folder with a finished one; usage: "
                              "python -m degradation.probe [runs/ | runs/NAME …]")  # fmt: skip
            runs += found
        for run in tqdm(runs, desc="probe", unit="run", disable=None):
            spreads = probe(run).items()
            lines = [f"{i},{name},{std!r}" for i, (name, std) in enumerate(spreads, 1)]
            text = "\n".join(["layer,name,response_std", *lines])
            storage.write_atomically(run.responses, text.encode() + b"\n")
    except (ValueError, storage.Failed) as error:
        print(schema.shown(str(error)), file=sys.stderr)
        return 5 if isinstance(error, storage.Failed) else 2
    print(f"{len(runs)} runs: responses.csv in each; figure 7: python analysis/plot_curves.py")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
