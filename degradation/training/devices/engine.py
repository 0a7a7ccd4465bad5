"""Training steps and evaluations of one state, launched so that the host runs a little ahead."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import get_total_norm

from degradation.config.schema import Numerics
from degradation.models.kernels import cpu as native
from degradation.models.kernels import gpu
from degradation.models.resnet import compile_blocks, forward
from degradation.training.devices.cuda_graph import Capture, Step
from degradation.training.devices.distributed import PATIENCE, LostError
from degradation.training.optimizer import learning_rate_tensor
from degradation.training.state import State
from degradation.training.step import train_step

LEAD = 8  # steps that the host may be ahead of the device
POLL = 1e-4  # seconds between two questions whether the device has got somewhere


class Engine:
    """Does the training steps and the evaluations of one state."""

    def __init__(
        self,
        numerics: Numerics,
        state: State,
        device: torch.device,
        capture: Capture | None = None,
    ) -> None:
        """Without `capture`, each step is launched kernel by kernel."""
        self.numerics, self.state, self.device = numerics, state, device
        self.launched: deque[torch.cuda.Event] = deque()
        self.step: Step = self._launch
        if capture is not None:
            self.step = capture(self._launch, list(state.tensors().values()))
        if numerics.compiled:
            compile_blocks(state.network)
        if numerics.native:
            native.use(state.network)
        if numerics.fused:
            gpu.use(state.network)

    def train_step(self, x: Tensor, y: Tensor, lr: float) -> None:
        """One step on this process's share of a batch. It waits where the device is far behind, as
        a stop must not come late."""
        learning_rate_tensor(self.state.optimizer).fill_(lr)
        self.step(x, y)
        self._mark()
        while len(self.launched) > LEAD:
            self._wait_for(self.launched.popleft())

    def _launch(self, x: Tensor, y: Tensor) -> None:
        train_step(self.state, x, y, self.numerics.precision, self.numerics.fused)

    def ready(self) -> bool:
        """Whether `train_step` would return without waiting for the device."""
        return len(self.launched) < LEAD or is_done(self.launched[0])

    def finish(self) -> None:
        """Wait until the device has done all that was launched."""
        self._mark()
        while self.launched:
            self._wait_for(self.launched.popleft())

    def note_gradient(self) -> None:
        """Keep the norm of the last minibatch's gradient, where this process has trained on one."""
        gradients = [p.grad for p in self.state.network.parameters() if p.grad is not None]
        if gradients:
            self.state.gradient_norm.copy_(get_total_norm(gradients))

    @torch.no_grad()
    def evaluate(
        self, batches: Iterable[tuple[Tensor, Tensor]], between: Callable[[], object]
    ) -> tuple[float, int]:
        """Sum of the losses and number of errors over a set of images, in eval mode.

        Before each batch it calls `between`, which may raise; not where several processes train, as
        they stop together or not at all.
        """
        network, group, flat = self.state.network, self.state.group, self.state.flat
        sums = torch.zeros(2, dtype=torch.float64, device=self.state.gradient_norm.device)
        network.eval()
        try:
            with nullcontext() if flat is None else flat.mean_running_stats(group):
                for x, labels in batches:
                    if group.size == 1:
                        between()
                    logits = forward(network, x, self.numerics.precision)
                    loss = functional.cross_entropy(logits, labels, reduction="sum").double()
                    sums += torch.stack([loss, (logits.argmax(1) != labels).sum().double()])
        finally:
            network.train()
        group.sum_(sums)
        self.finish()
        loss, errors = sums.tolist()
        return loss, int(errors)

    def close(self) -> None:
        """Free the CUDA graph now, and not when a garbage collection finds it: that would clear the
        cuBLAS workspace of its stream, which may be another run's by then."""
        self.step = self._launch

    def _mark(self) -> None:
        """Note this moment of the device's work, to find out when it is behind it."""
        if self.device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
            self.launched.append(event)

    def _wait_for(self, event: torch.cuda.Event) -> None:
        """Wait by asking: a process that waits in the driver hears no signal, and would wait
        forever for another one that has died in the middle of their exchange."""
        end = time.monotonic() + PATIENCE.total_seconds()
        while not is_done(event):
            if time.monotonic() > end:
                raise LostError(f"{self.device} has not finished a step in {PATIENCE}")
            time.sleep(POLL)


def is_done(event: torch.cuda.Event) -> bool:
    """Whether the device has done what was launched before the event."""
    return bool(event.query())  # type: ignore[no-untyped-call]
