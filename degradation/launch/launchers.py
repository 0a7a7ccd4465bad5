"""Gives a study's unfinished runs to what trains them: this process, joblib, SLURM or Ray.

On this machine, each GPU gets one process, which trains a group of runs and has several of them on
the GPU at a time; without a GPU, joblib has a process for each core. Elsewhere a job is one run, or
`machine.runs_per_gpu` of them where that is a number.
"""

import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from degradation.config import compose
from degradation.config.compose import Study
from degradation.config.overrides import written
from degradation.config.schema import Settings
from degradation.launch import gpus, process
from degradation.launch.slurm import requeued, set_ranks
from degradation.launch.stopping import in_a_pool, stopping
from degradation.system import process_group

log = logging.getLogger("degradation")

HERE = ("basic", "joblib")  # launchers whose runs are processes of this machine
POLL = 0.25  # seconds


def train(
    study: Study, remaining: Sequence[Settings], context: HydraContext, config: DictConfig
) -> None:
    """Train the runs that are `remaining`. What became of them is on the disk.

    `config` is what Hydra composed for the whole study. Raises Interrupted.
    """
    machine, devices = remaining[0].machine, gpus.usable(remaining[0].machine)
    if study.launcher in HERE and (devices or machine.runs_per_gpu not in ("auto", 1)):
        if study.launcher == "basic" or len(devices) < 2:
            process.train_groups([process.Group(longest_first(remaining))])
            return
        with gpus.claimed(devices) as ours:
            process.train_groups(shared_out(remaining, ours))
    elif study.launcher == "basic":
        for settings in remaining:
            process.train_alone(settings)
    else:
        by_launcher(study, remaining, context, config)


def longest_first(runs: Sequence[Settings]) -> list[Settings]:
    """A long run that starts last is waited for."""
    return sorted(runs, key=_length, reverse=True)


def _length(settings: Settings) -> int:
    return settings.config.depth * settings.config.recipe.iterations


def shared_out(runs: Sequence[Settings], devices: Sequence[str]) -> list[process.Group]:
    """A group of about the same length for each GPU."""
    groups = {name: process.Group([], name) for name in devices}
    for settings in longest_first(runs):
        least = min(groups.values(), key=lambda group: sum(map(_length, group.runs)))
        least.runs.append(settings)
    return [group for group in groups.values() if group.runs]


def by_launcher(
    study: Study, remaining: Sequence[Settings], context: HydraContext, config: DictConfig
) -> None:
    """Train by Hydra's launcher, and say what went wrong with it."""
    if study.launcher not in HERE:
        remaining = [with_whole_paths(settings) for settings in remaining]
        logging.getLogger("submitit").setLevel(logging.ERROR)  # it would warn whenever it polls
        threading.Thread(target=_leave_when_asked, daemon=True).start()
    fit(config, study.launcher)
    jobs = jobs_of(remaining, study.launcher)
    if study.launcher not in HERE:
        log.info("%d of them go to %s in %d jobs", len(remaining), study.launcher, len(jobs))
    # Each job is sent all of them, so they are no more than they must be.
    groups = {runs[0].config.name: runs for runs in jobs if len(runs) > 1}
    task = functools.partial(train_job, groups)
    launcher = Plugins.instance().instantiate_launcher(context, task, config)
    words = [_words(study, runs[0]) for runs in jobs]
    try:
        results = launcher.launch(words, initial_job_idx=0)
    except Exception as error:
        log.error("%s: %s: %s", study.launcher, type(error).__name__, error)
        return
    for result in results:
        if isinstance(fault := result._return_value, Exception):
            log.error("%s: %s: %s", " ".join(result.overrides or []), type(fault).__name__, fault)


def jobs_of(remaining: Sequence[Settings], launcher: str) -> list[list[Settings]]:
    """The runs of each of a launcher's jobs."""
    wanted = remaining[0].machine.runs_per_gpu
    size = wanted if isinstance(wanted, int) and launcher not in HERE else 1
    runs = longest_first(remaining) if size > 1 else list(remaining)
    return [runs[i : i + size] for i in range(0, len(runs), size)]


def train_job(groups: dict[str, list[Settings]], config: DictConfig) -> None:
    """What a launcher's process does, with its first run's configuration from Hydra.

    `groups`: the runs of those jobs that have several, by the first one's name.
    """
    settings = compose.read(config)
    train_here(groups.get(settings.config.name, [settings]))


def train_here(runs: list[Settings]) -> None:
    """Train in a process that a launcher started. It doesn't raise for a run that fails.

    W&B is given its moment here where nobody waits for it elsewhere.
    """
    set_ranks()
    if in_a_pool():
        process.train_in_a_pool(runs[0])
        return
    with requeued():
        if process_group.rank_and_world_size()[0] > 0:
            process.assist(runs[0])
            return
        process.train_groups([process.Group(runs)])
    process.finish_sync(runs)


def _words(study: Study, settings: Settings) -> list[str]:
    """The overrides of a job, without Hydra's own, which the launcher adds again."""
    words = study.overrides[settings.config.name]
    kept = [word for word in words if not word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if study.launcher in HERE:
        return kept
    data = settings.config.data
    paths = {"machine.runs": settings.machine.runs, "data.root": data.root, "data.skip": data.skip}
    return [*kept, *(f"{key}={written(path)}" for key, path in paths.items() if path)]


def with_whole_paths(settings: Settings) -> Settings:
    """With the folders as another machine finds them, whatever folder it starts in."""
    config, machine = settings.config, settings.machine
    skip = config.data.skip and _whole(config.data.skip)
    data = dataclasses.replace(config.data, root=_whole(config.data.root), skip=skip)
    config = dataclasses.replace(config, data=data)
    return Settings(config, dataclasses.replace(machine, runs=_whole(machine.runs)))


def _whole(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def fit(config: DictConfig, launcher: str) -> None:
    """Ask Ray for no GPU where a Ray of our own has none, and set no memory in another's."""
    if launcher != "ray":
        return
    options = config.hydra.launcher.ray
    with open_dict(options):
        if options.init.get("address") is not None:
            options.init.object_store_memory = None
        elif not gpus.names():
            options.remote.num_gpus = 0


def _leave_when_asked() -> None:
    """End this command at a signal: it only waits, and the runs go on elsewhere."""
    while stopping.signal is None:
        time.sleep(POLL)
    log.warning(
        "left: the runs stay in the queue (squeue, scancel); the same command, or `degradation "
        "status`, tells how far they are"
    )
    os._exit(128 + stopping.signal)
