"""The meters."""

import torch

from degradation.training.step import FINE, Count, Meters

LOGITS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


def test_meters_average_over_images() -> None:
    meters = Meters.new(torch.device("cpu"))
    meters.add(torch.tensor(0), Count.of(torch.tensor(2.0), LOGITS, torch.tensor([0, 0, 0])))
    meters.add(torch.tensor(1), Count.of(torch.tensor(5.0), LOGITS[:1], torch.tensor([1])))
    assert meters.mean_loss == (2 * 3 + 5) / 4
    assert meters.error == 50
    meters.reset()
    assert int(meters.seen) == 0


def test_the_first_loss_that_is_no_number_is_kept() -> None:
    meters = Meters.new(torch.device("cpu"))
    for iteration, loss in enumerate((1.0, float("inf"), float("nan"), 1.0)):
        assert int(meters.diverged) == (FINE if iteration < 2 else 1)
        count = Count.of(torch.tensor(loss), LOGITS, torch.tensor([0, 1, 0]))
        meters.add(torch.tensor(iteration), count)
    meters.reset()
    assert int(meters.diverged) == 1
