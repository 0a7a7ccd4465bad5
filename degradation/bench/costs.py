"""What the harness costs beside training, and how cost grows with depth and with points."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from degradation.bench import clock, practice
from degradation.config import schema, study
from degradation.config.schema import RunConfig, Settings
from degradation.data.device_loader import DeviceLoader
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.signals import Stop
from degradation.training import setup
from degradation.training.devices import interleave
from degradation.training.loop import Saver, train
from degradation.training.run_logger import Recorder
from degradation.training.synthetic_run import ENGINES, Ours, synthetic, tensors_of

MACHINE = schema.Machine("cpu", 1, "runs", "none", "exact", "disabled", "bench", None)


def settings(*overrides: str) -> Settings:
    """What a command line of these overrides would train."""
    [found] = study.settings(study.Line.read(list(overrides)))
    return found


def augmentation(batch: int = 128, batches: int = 8, rounds: int = 5) -> dict[str, float]:
    """Microseconds a image, cropped and flipped: ours on tensors, and one by one with PIL."""
    found, cpu = synthetic(), torch.device("cpu")
    config = settings("model=plain", "depth=20", f"recipe.batch_size={batch}").config
    loader = DeviceLoader(found, config.data, 0, batch, cpu)
    loading = practice.loader(found.train.images, found.train.labels, batch, 0)

    def ours() -> None:
        loader.chunk = -1
        for step in range(batches):
            loader.get_batch(step)

    def theirs() -> None:
        for _ in range(batches):
            next(loading)

    took = clock.rounds({"ours": ours, "PIL": theirs}, rounds, cpu)
    return {n: statistics.median(each) / batch / batches * 1e6 for n, each in took.items()}


def overhead(depth: int = 20, seed: int = 0) -> dict[str, float]:
    """Seconds of a digits run by what they went to: rows, checkpoints, all of it."""
    spent = {"rows": 0.0, "checkpoints": 0.0}

    def timed(name: str, method: object) -> object:
        def call(*arguments: object, **more: object) -> object:
            began = time.perf_counter()
            try:
                return method(*arguments, **more)  # type: ignore[operator]
            finally:
                spent[name] += time.perf_counter() - began

        return call

    class TimedRecorder(Recorder):
        row = timed("rows", Recorder.row)  # type: ignore[assignment]

    config = settings("model=residual", f"depth={depth}", "data=digits", "recipe=digits").config
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir.of(config, folder)
        run.create(config)
        session = setup.prepare(run, replace(MACHINE, runs=folder), Stop())
        session.recorder.__class__ = TimedRecorder
        save, Saver.save = Saver.save, timed("checkpoints", Saver.save)  # type: ignore[method-assign,assignment]
        began = time.perf_counter()
        try:
            interleave.finish(train(session))
        finally:
            Saver.save = save  # type: ignore[method-assign]
        return spent | {"all": time.perf_counter() - began}


@dataclass(frozen=True)
class Growth:
    """The cost of an iteration on 8×8 images, 8 at a time: there, depth is all that costs."""

    depths: tuple[int, ...]
    milliseconds: tuple[float, ...]
    megabytes: tuple[float, ...]
    """Of tensors an iteration on 128 CIFAR-10 images needs, in fp32."""

    @property
    def straightness(self) -> tuple[float, float]:
        """R² of a straight line through time, and through memory."""
        return _r2(self.depths, self.milliseconds), _r2(self.depths, self.megabytes)


def growth(depths: Sequence[int] = (20, 56, 110, 302, 602, 1202)) -> Growth:
    from degradation.data import digits

    times, sizes = [], []
    for depth in depths:
        small = settings("model=residual", f"depth={depth}", "data=digits", "recipe=digits",
                         "recipe.batch_size=8", "recipe.warmup_min_depth=null").config  # fmt: skip
        ours = Ours(replace(small, numerics=ENGINES["eager"]), digits.load(small.data),
                    torch.device("cpu"))  # fmt: skip
        times.append(1e3 * clock.best(lambda o=ours: o.run(1), torch.device("cpu"), 5))  # type: ignore[misc]
        sizes.append(tensors_of(settings("model=residual", f"depth={depth}").config) / 1e6)
    return Growth(tuple(depths), tuple(times), tuple(sizes))


def _r2(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def start_up(counts: Sequence[int] = (1, 10, 1000)) -> dict[int, float]:
    """Seconds of the command for a study of so many points, all finished."""
    found = {}
    with tempfile.TemporaryDirectory() as runs:
        for count in counts:
            line = ["-m", "data=digits", "recipe=digits", "model=plain", "depth=20",
                    f"seed=range({count})", f"machine.runs={runs}"]  # fmt: skip
            for one in study.settings(study.Line.read(line)):
                finished(one.config, runs)
            found[count] = _command(line)
    return found


def first_step() -> float:
    """Seconds from the command to the result of a digits run of one iteration."""
    with tempfile.TemporaryDirectory() as runs:
        return _command(["data=digits", "recipe=digits", "model=plain", "depth=20",
                         "recipe.iterations=1", "recipe.milestones=[]", f"machine.runs={runs}",
                         "machine.wandb=disabled"])  # fmt: skip


def finished(config: RunConfig, runs: str | Path) -> None:
    """A folder as a finished run leaves it, without its rows."""
    run = RunDir.of(config, runs)
    run.create(config)
    if run.result() is None:
        files.write_json(run.done_json, {"outcome": "done", "iteration": 1, "exact": True,
                                           "last": None})  # fmt: skip


def _command(line: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "degradation.run", *line],
        check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return time.perf_counter() - began
