"""A training step as one CUDA graph: captured once, then launched as a whole.

A deep, narrow network's kernels are so small that launching each one costs the host more than
running it costs the GPU. The graph wraps exactly one step over static buffers, into which each
batch is copied; what else changes from step to step (the learning rate) lies in tensors that are
filled before it. The kernels are those that would be launched one by one, and so are the bits.
"""

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from degradation.config.validation import ConfigError

log = logging.getLogger("degradation")

Step = Callable[[Tensor, Tensor], None]
"""Does one step on a batch (x, y)."""
Capture = Callable[[Step, Sequence[Tensor]], Step]
"""Makes a step that does the same from one that is launched kernel by kernel, given the tensors
that the step changes."""

WARMUPS = 3  # launched steps before the capture, in which libraries allocate and choose kernels


class CudaGraph:
    """The same step as a CUDA graph, captured at the first call.

    One capture stream a run, and its warm-up on it: cuBLAS keeps a workspace per stream, which two
    runs that replay at the same time must not share. Capture looks at this thread alone, so that
    what another thread does meanwhile (pinning memory, watching NCCL) can't break it.
    """

    def __init__(self, step: Step, changed: Sequence[Tensor]) -> None:
        self.step, self.changed = step, changed
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor, y: Tensor) -> None:
        if self.graph is None:
            started = time.monotonic()
            self.x, self.y = x.clone(), y.clone()
            self.graph = self._captured()
            log.info("captured a CUDA graph in %.1f s", time.monotonic() - started)
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph:
        device = self.x.device
        current = torch.cuda.current_stream(device)
        stream = current
        # A run that shares the GPU has a stream of its own already (interleave.py).
        if current == torch.cuda.default_stream(device):
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            self._warm_up()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self.step(self.x, self.y)
        current.wait_stream(stream)
        return graph

    def _warm_up(self) -> None:
        """Launch a few steps, and leave the state as it was before them."""
        before = [tensor.clone() for tensor in self.changed]
        for _ in range(WARMUPS):
            self.step(self.x, self.y)
        for tensor, value in zip(self.changed, before, strict=True):
            tensor.copy_(value)


def capture_for(graph: str, device: torch.device) -> Capture | None:
    """What `numerics.graph` asks for on a device; None: launch each step. Raises ConfigError."""
    if device.type == "cuda":
        return None if graph == "off" else CudaGraph
    if graph == "on":
        raise ConfigError(
            f"numerics.graph=on: needs a CUDA device, and this run runs on {device}; "
            "give auto or off, or machine.device=cuda"
        )
    return None
