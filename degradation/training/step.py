"""One training step: operations on the device alone, which the host launches."""

from torch import Tensor
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
    if state.flat is None:
        state.optimizer.zero_grad()
    else:
        state.flat.gradients.zero_()
    logits = forward(state.network, x, precision, cast_at_once)
    loss = functional.cross_entropy(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    if state.flat is not None:
        state.group.mean_(state.flat.gradients)
    state.optimizer.step()
    sums = batch_sums(loss, logits, labels, state.group)
    state.row.add(*sums)
    if state.window is not None:
        state.window.add(*sums)
