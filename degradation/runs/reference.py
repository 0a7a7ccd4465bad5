"""The paper's errors as data, with their source: `analysis/paper/errors.csv`."""

import csv
from functools import cache

from degradation.system.paths import PAPER

ITERATIONS = {"cifar10": 64_000, "imagenet": 600_000}
"""How long the paper trained on each data set."""


@cache
def errors() -> dict[tuple[str, str, int, str], float]:
    """Percent by (data, arm, depth, quantity).

    The quantities: test_error, train_error, and both with `_before_drop`, their means over 27k to
    32k iterations.
    """
    with (PAPER / "errors.csv").open(newline="") as file:
        return {
            (row["data"], row["arm"], int(row["depth"]), row["quantity"]): float(row["value"])
            for row in csv.DictReader(file)
        }


def error(
    data: str, arm: str, depth: int, name: str, iterations: int, variant: str = ""
) -> float | None:
    """The paper's error of one network in percent, if it has one; none of a variant of ours, and
    none of another length."""
    if variant or iterations != ITERATIONS.get(data):
        return None
    return errors().get((data, arm, depth, name))
