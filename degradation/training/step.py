"""One training step, and evaluation: operations on the device alone, which the host launches."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from degradation.models.resnet import forward
from degradation.training.metrics import batch_sums
from degradation.training.state import State


def train_step(
    state: State, x: Tensor, labels: Tensor, precision: str, cast_at_once: bool = False
) -> None:
    """Move the state by one minibatch, or this process's share of one, at the learning rate that
    lies in the optimizer; add its loss and errors to the state's accumulators.

    Nothing here waits for the device or depends on a number that the host knows: a CUDA graph of
    it does the same work each time.
    """
    state.clear_gradients()
    logits = forward(state.network, x, precision, cast_at_once)
    loss = functional.cross_entropy(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if state.flat is not None:
        state.group.mean_(state.flat.gradients)
    state.optimizer.step()
    sums = batch_sums(loss, logits, labels, state.group)
    for accumulator in state.accumulators:
        accumulator.add(*sums)


@torch.no_grad()
def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    precision: str,
    between: Callable[[], object],
) -> Tensor:
    """Sum of the losses and number of errors in eval mode: float64, shape (2,), on the device.

    Before each batch it calls `between`, which may raise.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=next(network.parameters()).device)
    network.eval()
    try:
        for x, labels in batches:
            between()
            logits = forward(network, x, precision)
            loss = functional.cross_entropy(logits, labels, reduction="sum").double()
            sums += torch.stack([loss, (logits.argmax(1) != labels).sum().double()])
    finally:
        network.train()
    return sums
