"""The device's measured peaks: the ceilings that a run is held against, measured in that run."""

import torch
from torch.nn import functional

from degradation.bench.clock import best
from degradation.bench.roof import Machine


@torch.no_grad()
def probe(device: torch.device, precision: str = "fp32") -> Machine:
    """A convolution of 256 planes, a matrix product of 2,048, a copy of 256 MB (CPU) or 1 GB."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    big = device.type == "cuda"
    planes, side, batch = 256, 16, 256 if big else 8
    x = torch.randn(batch, planes, side, side, device=device, dtype=dtype)
    weight = torch.randn(planes, planes, 3, 3, device=device, dtype=dtype)
    x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    size = 8192 if big else 2048
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    source = torch.zeros((2**30 if big else 2**28) // 4, device=device)
    target = torch.empty_like(source)
    convolution = best(lambda: functional.conv2d(x, weight, padding=1), device)
    return Machine(
        convolution=2 * 9 * planes**2 * side**2 * batch / convolution,
        product=2 * size**3 / best(lambda: matrix @ matrix, device),
        copy=2 * source.nbytes / best(lambda: target.copy_(source), device),
    )
