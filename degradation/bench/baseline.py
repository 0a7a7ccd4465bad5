"""The baseline: the training loop that most public repositories of these networks have.

It crops and flips PIL images one by one in a DataLoader, keeps channels before pixels in memory,
fetches two numbers from the device at every iteration, and leaves every setting of torch and of its
SGD at its default. Its network has option A, and our parameters in our order.
"""

import random
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from degradation.config.architecture import blocks_per_stage

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PILImages(Dataset[tuple[Tensor, int]]):
    """Normalised images, padded, cropped and flipped one at a time."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels
        self.mean = torch.tensor(MEAN)[:, None, None]
        self.std = torch.tensor(STD)[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        padded = ImageOps.expand(image, border=4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = padded.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        planes = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return (planes.float().div(255) - self.mean) / self.std, int(self.labels[index])


def loader(
    images: NDArray[np.uint8], labels: NDArray[np.int64], batch: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end from a shuffling DataLoader."""
    batches = DataLoader(
        PILImages(images, labels),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
        persistent_workers=workers > 0,
    )
    while True:
        yield from batches


class Block(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.residual, self.stride, self.extra = residual, stride, filters - inputs

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.residual:
            if self.extra:
                x = functional.pad(
                    x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra)
                )
            out = out + x
        return functional.relu(out)


class ResNet(nn.Module):
    def __init__(self, depth: int, residual: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for stage in range(3):
            for block in range(blocks_per_stage(depth)):
                stride = 2 if stage and not block else 1
                blocks.append(Block(inputs, 16 * 2**stage, stride, residual))
                inputs = 16 * 2**stage
        self.layers = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(functional.relu(self.bn1(self.conv1(x))))
        x = functional.avg_pool2d(x, x.size(3)).flatten(1)
        logits: Tensor = self.linear(x)
        return logits


class Loop:
    """The training loop."""

    def __init__(
        self, network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
    ) -> None:
        self.network = network.to(device).train()
        self.batches = iter(batches)
        self.device = device
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4
        )
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def train(self, iterations: int) -> None:
        for _ in range(iterations):
            x, labels = next(self.batches)
            x = x.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            logits = self.network(x)
            loss = functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.losses.append(loss.item())
            _, best = logits.topk(1, 1, largest=True, sorted=True)
            correct = (best.t() == labels).float().sum()
            self.accuracies.append(correct.mul_(100.0 / len(labels)).item())


def use_torch_defaults() -> None:
    """Set torch as it is after its import, whatever another contestant has set before."""
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
