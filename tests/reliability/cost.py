"""What saving costs: its share of the time, and how much work is at risk between two saves."""

import re
import signal
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from degradation.system import files
from degradation.system.signals import Stop
from degradation.training.loop import SAVE_SHARE, Saver
from degradation.training.setup import prepare

from .harness.figure import Figure
from .harness.training import config, cpu_machine, made, train, warm

AT_RISK = {20: 30, 56: 30, 110: 30, 1202: 120}


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """The share, measured; the seconds at risk, from measured saves of the real state's size."""
    found = [share(30.0 if full else 4.0, folder / "share")]
    return found + [at_risk(depth, folder / str(depth)) for depth in AT_RISK if full or depth < 100]


def share(seconds: float, folder: Path) -> Figure:
    """Train the real residual-20 for a while, saving by the product's own rule."""
    long = {"recipe__iterations": 10**6, "recipe__milestones": [], "recipe__eval_every": 100}
    settings = config(full=True, **long)
    warm(settings)

    def print_times() -> None:
        real, end = Saver.save, time.monotonic() + seconds

        def save(saver: Saver) -> None:
            began = time.monotonic()
            real(saver)
            print("saved:", began, time.monotonic())

        Saver.save = save
        Stop.__call__ = lambda stop: time.monotonic() > end

    end = train(made(folder, settings), print_times)  # stopped, and by no signal of its own
    spans = [(float(a), float(b)) for a, b in re.findall(r"saved: (\S+) (\S+)", end.output)]
    due = spans[:-1]  # the last one is that of the stop
    spent = sum(b - a for a, b in due[:-1])
    part = 100 * spent / (due[-1][0] - due[0][0]) if len(due) > 1 else 100.0
    longest = max((b - a for (_, a), (b, _) in pairwise(due)), default=0.0)
    cost = 1e3 * spent / max(1, len(due) - 1)
    return Figure(
        f"share of {seconds:.0f} s of residual-20 that saving takes, by its own rule",
        "at most 1 %",
        f"{part:.2f} %: {len(due)} saves, of {cost:.0f} ms, at most {longest:.1f} s apart",
        end.status == 128 + signal.SIGTERM and part <= 1.0 + 1e-9,
    )


def at_risk(depth: int, folder: Path) -> Figure:
    """SAVE_SHARE times a save of the state as it is, momenta and all; one step is not counted."""
    settings = config(full=True, depth=depth, recipe__batch_size=8)
    context = prepare(made(folder, settings), cpu_machine(folder), Stop())
    for parameter in context.state.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    context.state.optimizer.step()  # so that there are momenta to save
    saver, costs = Saver(context), list[float]()
    for iteration in range(5):
        context.state.iteration = iteration
        saver.save()
        costs.append(saver.cost)
    size, cost = sum(t.nbytes for t in context.state.tensors().values()), median(costs)
    seconds = max(SAVE_SHARE * cost, 1.0)
    return Figure(
        f"work at risk at depth {depth} ({files.megabytes(size)} of state)",
        f"at most {AT_RISK[depth]} s",
        f"{seconds:.1f} s: {SAVE_SHARE} times a save of {1e3 * cost:.0f} ms (median of "
        f"{len(costs)})",
        seconds <= AT_RISK[depth],
    )
