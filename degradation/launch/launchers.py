"""Hand a study's unfinished points to Hydra's launcher: joblib, SLURM through submitit, or Ray.

Hydra's own sweep would start a job for every run, the finished ones included, a sixth of a second
each; here the launcher gets the points that lack their result, and nothing else of it changes.
"""

import dataclasses
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict

from degradation.config import compose, study
from degradation.config import overrides as command
from degradation.config.schema import Machine, Settings
from degradation.launch import gpus, process
from degradation.launch.slurm import requeued
from degradation.runs.run_dir import RunDir
from degradation.system import process_group

log = logging.getLogger("degradation")

HERE = ("basic", "joblib")  # launchers whose points are processes of this machine
LOOK = 0.25


def train(line: study.Line, asked: study.Asked, left: Sequence[Settings]) -> None:
    """Train the points that are `left` by the launcher that `line` names.

    It says what went wrong with the launcher; what became of the points is on the disk.
    """
    words = [_of_the_point(asked.overrides[s.config.name]) for s in left]
    if asked.launcher not in HERE:
        words = [[*each, *_whole_paths(s)] for each, s in zip(words, left, strict=True)]
        logging.getLogger("submitit").setLevel(logging.ERROR)  # else it warns at every look
        threading.Thread(target=_leave_when_asked, daemon=True).start()
    with study.prepared(line) as hydra:
        config = hydra.compose_config("config", line.overrides, RunMode.MULTIRUN)
        fit(config, left[0].machine)
        if asked.launcher not in HERE:
            log.info("%d of them go to %s", len(left), asked.launcher)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(hydra.config_loader, Callbacks(config)),
            task_function=train_one,
            config=config,
        )
        try:
            results = launcher.launch(words, initial_job_idx=0)
        except Exception as error:
            log.error("%s: %s: %s", asked.launcher, type(error).__name__, error)
            return
    for result in results:
        if isinstance(fault := result._return_value, Exception):
            log.error("%s: %s: %s", " ".join(result.overrides or []), type(fault).__name__, fault)


def _of_the_point(overrides: Sequence[str]) -> list[str]:
    """Without those of Hydra itself, which the launcher adds again."""
    return [word for word in overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]


def _whole_paths(settings: Settings) -> list[str]:
    """The folders as another machine finds them, whatever it starts in."""
    places = {"machine.runs": settings.machine.runs, "data.root": settings.config.data.root}
    return [
        f"{key}={command.written(str(Path(place).expanduser().absolute()))}"
        for key, place in places.items()
    ]


def train_one(config: DictConfig) -> None:
    """What a launcher's process does with one run. It doesn't raise for one that fails.

    W&B's mirror is given its moment here where nobody waits for it elsewhere.
    """
    settings = study.read(config)
    process_group.take_from_slurm()
    in_a_pool = multiprocessing.current_process().name != "MainProcess"
    count = gpus.shared_out(settings.machine) if in_a_pool else 0
    if count:
        with gpus.claimed(count) as number:
            machine = dataclasses.replace(settings.machine, device=f"cuda:{number}")
            process.train_point(dataclasses.replace(settings, machine=machine))
        return
    if process_group.rank_and_world_size()[0] > 0:
        with requeued():
            process.assist(settings)
        return
    with requeued():
        process.train_point(settings)
    if not in_a_pool:
        process.leave_mirror([RunDir.of(settings.config, settings.machine.runs)])


def fit(config: DictConfig, machine: Machine) -> None:
    """Make the launcher's options fit this machine, and what a run is. Raises ConfigError."""
    name, options = compose.launcher(config.hydra), config.hydra.launcher
    with open_dict(options):
        if name == "joblib" and (count := gpus.shared_out(machine)):
            options.n_jobs = count if options.n_jobs == -1 else min(count, options.n_jobs)
        if name == "ray":
            fit_ray(options.ray)


def fit_ray(options: DictConfig) -> None:
    """No GPUs asked of a Ray of our own where there are none; no memory set in another's."""
    if options.init.get("address") is not None:
        options.init.object_store_memory = None
    elif not gpus.visible():
        options.remote.num_gpus = 0


def _leave_when_asked() -> None:
    """End this command at a signal: it only waits, and the points go on elsewhere."""
    while process.stopping.signal is None:
        time.sleep(LOOK)
    log.warning("left: the points stay in the queue (squeue, scancel); the same command, or "
                "degradation.commands.status, tells how far they are")  # fmt: skip
    os._exit(128 + process.stopping.signal)
