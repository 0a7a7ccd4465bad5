"""Reading photographs beside training on them: which of the two is the limit, and for how long.

    python -m degradation.bench.photographs data=imagenet data.root=FOLDER model=residual depth=34

The words are those of `degradation.run`. It prints the pictures a second that a core decodes, ours
and by common practice in alternating rounds; that all processes decode together; and that the
device trains on when they lie there already. From these: hours of the whole point, and the limit.

Common practice: PIL pictures resized whole, cropped, mirrored, turned into floats, coloured and
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
from degradation.config.schema import Point, Settings
from degradation.config.validation import Invalid
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
    """One photograph at a time, as torchvision's transforms on PIL pictures do it."""

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
        assert own.crop is not None
        with (self.root / self.source.train.paths[index]).open("rb") as file:
            picture = Image.open(file).convert("RGB")
        side = random.randint(*own.scale)
        width, height = picture.size
        short = min(width, height)
        size = (side * width // short, side * height // short)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        left = random.randint(0, size[0] - own.crop)
        top = random.randint(0, size[1] - own.crop)
        picture = picture.crop((left, top, left + own.crop, top + own.crop))
        if own.flip and random.random() < 0.5:
            picture = ImageOps.mirror(picture)
        planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
        x = planes.float().div(255)
        if own.colour:
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
    """Pictures a second."""

    ours: float
    practice: float
    ratio: tuple[float, float, float]
    """Median, least and greatest of the rounds."""


def reading(source: Folder, point: Point, device: torch.device, workers: int) -> Rates:
    """Both ways until the batch is ready on the device. Without workers, by the process's own time,
    which other processes disturb least."""
    batch = min(point.recipe.batch, PICTURES)
    batches = max(1, PICTURES * max(1, workers) // batch)
    mine = FolderStream(source, point.seed, batch, device, workers)
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


def training(source: Folder, point: Point, device: torch.device) -> float:
    """Pictures a second that the device trains on."""
    state = fresh(point, source, device)
    stream = Ready(source, point.seed, point.recipe.batch, device, 0)
    made = Engine(point, state, stream, engine.record_for(point.numerics.graph, device))
    _train(made, 1)  # libraries choose, a recording is made
    _train(made, made.unroll)
    count = 1
    while (took := _wall(partial(_train, made, count), device)) < SECONDS:
        if state.iteration + 2 * count > point.recipe.iterations:
            break
        count *= 2
    return count * point.recipe.batch / took


def _train(made: Engine, iterations: int) -> None:
    left = min(iterations, made.point.recipe.iterations - made.state.iteration)
    while left > 0:
        left -= made.advance(left)


def report(settings: Settings) -> list[str]:
    """The lines. Raises DataError, Invalid."""
    point = settings.point
    source = sources.load(point.data)
    if not isinstance(source, Folder):
        raise Invalid(f"data={point.data.name}: lies whole on the device; say data=imagenet")
    device = machine.apply(settings.machine, point.numerics)
    workers = processes(settings.machine.workers, device)
    core = reading(source, point, torch.device("cpu"), 0)
    lines = [_shown("one core", core)]
    together = core.ours
    if workers > 1:
        all_of_them = reading(source, point, device, workers)
        lines.append(_shown(f"{workers} processes", all_of_them))
        together = all_of_them.ours
    trained = training(source, point, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one core"
    lines.append(f"training, {point.label}, batch {point.recipe.batch}, {name}: {trained:,.0f} "
                 "pictures/s")  # fmt: skip
    return [*lines, limit(point, together, trained)]


def _shown(who: str, rates: Rates) -> str:
    median, least, most = rates.ratio
    return (f"reading, {who}: {rates.ours:,.0f} pictures/s, common practice {rates.practice:,.0f}: "
            f"{median:.2f}× ({least:.2f} to {most:.2f})")  # fmt: skip


def limit(point: Point, read: float, trained: float) -> str:
    """What the whole point takes, and which of the two it waits for."""
    pictures = point.recipe.iterations * point.recipe.batch
    hours = [pictures / rate / 3600 for rate in (read, trained)]
    if hours[0] > hours[1]:
        why = (f"reading is the limit: {hours[1]:,.1f} h without it; more cores (machine.workers), "
               "or smaller copies (degradation data prepare)")  # fmt: skip
    else:
        why = f"the device is the limit; reading would take {hours[0]:,.1f} h"
    return (f"{point.recipe.iterations:,} iterations of {point.recipe.batch}: {max(hours):,.1f} h "
            f"and exams; {why}")  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Print the report; 2 refused, 3 data missing or damaged."""
    console.show_messages()
    torch.set_num_threads(1)
    try:
        asked = study.settings(study.Line.read(list(arguments)))
        if len(asked) != 1:
            raise Invalid(f"{len(asked)} points: name one")
        print("\n".join(report(asked[0])))
    except DataError as error:
        print(console.shown(str(error)), file=sys.stderr)
        return 3
    except Invalid as error:
        print(console.shown(str(error)), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
