"""Seconds that work takes, measured in alternating rounds within one process.

On a CPU it is the process's own time, which other processes disturb least; on a GPU it is wall
time from an idle device to an idle device.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Work = Callable[[], object]


def seconds(work: Work, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def best(work: Work, device: torch.device, times: int = 10) -> float:
    """The least of several: what the device can do."""
    work()
    return min(seconds(work, device) for _ in range(times))


def alternate(
    works: Mapping[str, Work], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work in each round: A B C, A B C, …, after a round that is not counted."""
    results: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            took = seconds(work, device)
            if number:
                results[name].append(took)
    return results


def ratio(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """How many times faster: the median over the rounds, the least, the greatest."""
    each = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(each), min(each), max(each)
