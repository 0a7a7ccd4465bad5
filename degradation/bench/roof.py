"""What a device does at most, measured in the run that reports it, and the speed it allows."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from degradation.bench.timing import best
from degradation.models.cost import Work

CHANNELS, SIDE = 256, 16  # of the convolution that is measured
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Roof:
    """The measured peaks of a device in one precision."""

    precision: str
    convolution: float
    """Operations a second of a convolution."""
    copy: float
    """Bytes a second, read and written."""

    def images_per_second(self, work: Work, arm: str, kernels: str) -> float:
        """The lower of what arithmetic and what memory traffic allow a network in training."""
        traffic = work.traffic(arm, kernels, DTYPES[self.precision].itemsize)
        return min(self.convolution / work.training, self.copy / traffic)

    def __str__(self) -> str:
        return (
            f"{self.precision}: convolution {self.convolution / 1e9:,.0f} GFLOP/s, "
            f"copy {self.copy / 1e9:,.1f} GB/s"
        )


@torch.no_grad()
def measure(device: torch.device, precision: str) -> Roof:
    """A convolution of 256 channels, and a copy of 256 MB (CPU) or 1 GB, each ten times."""
    dtype, gpu = DTYPES[precision], device.type == "cuda"
    batch = 256 if gpu else 8
    x = torch.randn(batch, CHANNELS, SIDE, SIDE, device=device, dtype=dtype)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=device, dtype=dtype)
    x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    source = torch.zeros(2**30 if gpu else 2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    flops = 2 * 9 * CHANNELS**2 * SIDE**2 * batch
    return Roof(
        precision,
        flops / best(lambda: functional.conv2d(x, weight, padding=1), device),
        2 * source.nbytes / best(lambda: target.copy_(source), device),
    )
