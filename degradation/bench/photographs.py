"""Reading photographs beside training on them: which of the two is the limit, and for how long.

    python -m degradation.bench.photographs data=imagenet data.root=FOLDER model=residual depth=34

The words are those of `degradation.run`. It prints the images a second that a core decodes, ours
and by common practice in alternating rounds; that all processes decode together; and that the
device trains on when they lie there already. From these: hours of the whole run, and the limit.

Common practice: PIL images resized whole, cropped, mirrored, turned into floats, coloured and
normalised one by one in a DataLoader, as torchvision's transforms do; of equal augmentation here.
"""

import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from degradation.bench import clock
from degradation.config import study
from degradation.config.schema import RunConfig, Settings
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.data.image_folder.imagenet import Folder
from degradation.data.image_folder.loader import NOISE, FolderStream, processes
from degradation.system import console
from degradation.training.devices import device as machine
from degradation.training.devices import engine
from degradation.training.devices.engine import Engine
from degradation.training.state import fresh

ROUNDS = 5
PICTURES = 128  # of a round, a core
SECONDS = 5.0  # of training, at least


class Practice(Dataset[tuple[Tensor, int]]):
    """One photograph at a time, as torchvision's transforms on PIL images do it."""

    def __init__(self, source: Folder) -> None:
        self.source, self.root = source, source.manifest.root
        colour = source.colour
        self.mean = torch.tensor(colour.mean)[:, None, None]
        self.values = torch.tensor(colour.eigenvalues)
        self.vectors = torch.tensor(colour.eigenvectors)

    def __len__(self) -> int:
        return len(self.source.train)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        own = self.source.data
        assert own.crop_size is not None
        with (self.root / self.source.train.paths[index]).open("rb") as file:
            image = Image.open(file).convert("RGB")
        side = random.randint(*own.resize_range)
        width, height = image.size
        short = min(width, height)
        size = (side * width // short, side * height // short)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left = random.randint(0, size[0] - own.crop_size)
        top = random.randint(0, size[1] - own.crop_size)
        image = image.crop((left, top, left + own.crop_size, top + own.crop_size))
        if own.flip and random.random() < 0.5:
            image = ImageOps.mirror(image)
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        x = planes.float().div(255)
        if own.pca_lighting:
            alpha = torch.randn(3) * NOISE
            x = x + ((alpha * self.values)[:, None] * self.vectors).sum(0)[:, None, None]
        return x - self.mean, self.source.train.labels[index]


def practice(source: Folder, batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of a shuffling DataLoader."""
    loading = DataLoader(
        Practice(source), batch_size=batch, shuffle=True, num_workers=workers,
        pin_memory=torch.cuda.is_available(), persistent_workers=workers > 0,
    )  # fmt: skip
    while True:
        yield from loading


@dataclass(frozen=True)
class Rates:
    """Images a second."""

    ours: float
    practice: float
    ratio: tuple[float, float, float]
    """Median, least and greatest of the rounds."""


def reading(source: Folder, config: RunConfig, device: torch.device, workers: int) -> Rates:
    """Both ways until the batch is ready on the device. Without workers, by the process's own time,
    which other processes disturb least."""
    batch = min(config.recipe.batch_size, PICTURES)
    batches = max(1, PICTURES * max(1, workers) // batch)
    mine = FolderStream(source, config.seed, batch, device, workers)
    theirs = practice(source, batch, workers)
    done = 0

    def ours() -> None:
        nonlocal done
        for _ in range(batches):
            mine.load(done, 1)
            mine.take(torch.zeros(1, dtype=torch.int64, device=device))
            done += 1

    def common() -> None:
        seen = 0
        while seen < batch * batches:  # the last batch of an epoch is smaller
            x, labels = next(theirs)
            x.to(device), labels.to(device)
            seen += len(labels)

    clocked = torch.device("cpu") if not workers else device
    took = {"practice": list[float](), "ours": list[float]()}
    for turn in range(ROUNDS + 1):
        for name, work in (("practice", common), ("ours", ours)):
            seconds = _wall(work, device) if workers else clock.seconds(work, clocked)
            if turn:
                took[name].append(seconds)
    mine.close()
    rates = {name: batch * batches / statistics.median(each) for name, each in took.items()}
    return Rates(rates["ours"], rates["practice"], clock.ratio(took["practice"], took["ours"]))


def _wall(work: clock.Work, device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


class Ready(FolderStream):
    """Batches that lie on the device already: the network's own speed."""

    def load(self, first: int, count: int) -> None:
        """Nothing: whatever lies there."""


def training(source: Folder, config: RunConfig, device: torch.device) -> float:
    """Images a second that the device trains on."""
    state = fresh(config, source, device)
    stream = Ready(source, config.seed, config.recipe.batch_size, device, 0)
    made = Engine(config, state, stream, engine.record_for(config.numerics.graph, device))
    _train(made, 1)  # libraries choose, a recording is made
    _train(made, made.unroll)
    count = 1
    while (took := _wall(partial(_train, made, count), device)) < SECONDS:
        if state.iteration + 2 * count > config.recipe.iterations:
            break
        count *= 2
    return count * config.recipe.batch_size / took


def _train(made: Engine, iterations: int) -> None:
    left = min(iterations, made.config.recipe.iterations - made.state.iteration)
    while left > 0:
        left -= made.advance(left)


def report(settings: Settings) -> list[str]:
    """The lines. Raises DataError, ConfigError."""
    config = settings.config
    source = sources.load(config.data)
    if not isinstance(source, Folder):
        raise ConfigError(f"data={config.data.name}: lies whole on the device; say data=imagenet")
    device = machine.apply(settings.machine, config.numerics)
    workers = processes(settings.machine.workers, device)
    core = reading(source, config, torch.device("cpu"), 0)
    lines = [_shown("one core", core)]
    together = core.ours
    if workers > 1:
        all_of_them = reading(source, config, device, workers)
        lines.append(_shown(f"{workers} processes", all_of_them))
        together = all_of_them.ours
    trained = training(source, config, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one core"
    lines.append(f"training, {config.label}, batch {config.recipe.batch_size}, {name}: {trained:,.0f} "
                 "images/s")  # fmt: skip
    return [*lines, limit(config, together, trained)]


def _shown(who: str, rates: Rates) -> str:
    median, least, most = rates.ratio
    return (f"reading, {who}: {rates.ours:,.0f} images/s, common practice {rates.practice:,.0f}: "
            f"{median:.2f}× ({least:.2f} to {most:.2f})")  # fmt: skip


def limit(config: RunConfig, read: float, trained: float) -> str:
    """What the whole run takes, and which of the two it waits for."""
    images = config.recipe.iterations * config.recipe.batch_size
    hours = [images / rate / 3600 for rate in (read, trained)]
    if hours[0] > hours[1]:
        why = (f"reading is the limit: {hours[1]:,.1f} h without it; more cores (machine.workers), "
               "or smaller copies (degradation data prepare)")  # fmt: skip
    else:
        why = f"the device is the limit; reading would take {hours[0]:,.1f} h"
    return (f"{config.recipe.iterations:,} iterations of {config.recipe.batch_size}: {max(hours):,.1f} h "
            f"and exams; {why}")  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Print the report; 2 refused, 3 data missing or damaged."""
    console.show_messages()
    torch.set_num_threads(1)
    try:
        asked = study.settings(study.Line.read(list(arguments)))
        if len(asked) != 1:
            raise ConfigError(f"{len(asked)} points: name one")
        print("\n".join(report(asked[0])))
    except DataError as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 3
    except ConfigError as error:
        print(console.escape_control_chars(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
