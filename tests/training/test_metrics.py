"""The accumulators of losses and errors."""

import torch

from degradation.training.devices.distributed import ALONE
from degradation.training.metrics import NOT_DIVERGED, MetricAccumulator, batch_sums

LOGITS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


def add(metrics: MetricAccumulator, loss: float, labels: list[int]) -> None:
    metrics.add(*batch_sums(torch.tensor(loss), LOGITS, torch.tensor(labels), ALONE))


def test_metrics_average_over_images() -> None:
    metrics = MetricAccumulator.new(3, torch.device("cpu"))
    add(metrics, 2.0, [0, 0, 0])
    add(metrics, 5.0, [1, 0, 0])
    assert metrics.images == 6
    assert metrics.mean_loss == (2 * 3 + 5 * 3) / 6
    assert metrics.error == 100 * (1 + 2) / 6
    metrics.reset()
    assert metrics.images == 0


def test_the_first_loss_that_is_no_number_is_kept() -> None:
    metrics = MetricAccumulator.new(3, torch.device("cpu"))
    for batch, loss in enumerate((1.0, float("inf"), float("nan"), 1.0)):
        assert int(metrics.first_nonfinite) == (NOT_DIVERGED if batch < 2 else 1)
        add(metrics, loss, [0, 1, 0])
    assert int(metrics.first_nonfinite) == 1
