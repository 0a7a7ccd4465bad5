"""Trains runs: one, or every combination of a Hydra multirun, each in a process of its own.

    python -m degradation.run model=residual depth=20 data=digits
    python -m degradation.run -m model=plain,residual depth=20,56,110,1202
    python -m degradation.run +sweeps=quickstart

The same command again trains only what is missing and goes on where a run was cut. Exit status:
0 every run has its result, 1 one of them hasn't, 2 refused, 3 no run's data is there, 5 the
disk refused, 128 + n stopped by signal n.
"""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from degradation.commands import exit_status
from degradation.config import compose, errors, world_size
from degradation.config.schema import Settings
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.launch import launchers, process
from degradation.launch.stopping import Interrupted, stopping
from degradation.runs import progress, summary
from degradation.runs.run_dir import RunDir
from degradation.system import console, files, process_group
from degradation.system.paths import CONF

log = logging.getLogger("degradation")


class NoResult(Exception):
    """A run has no result; the reason has been printed."""


def main(words: list[str]) -> int:
    """Check every run, train what is missing, say how it ended; the exit status."""
    console.show_messages()
    stopping.listen()
    os.umask(os.umask(0o022) | 0o022)  # Nothing that others may write, whoever writes it.
    sys.argv[1:] = compose.in_order(words)
    # Hydra would print errors itself, and end with status 1 for all of them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with errors.for_people():
            hydra_main()
    except NoResult as error:
        log.error("%s has no result yet; the same command trains it", error)
        return 1
    return 0


@hydra.main(version_base=compose.VERSION_BASE, config_path=str(CONF), config_name=compose.NAME)
def hydra_main(config: DictConfig) -> None:
    """Train one run. Hydra calls it, itself or by another sweeper than ours."""
    if HydraConfig.get().mode == RunMode.RUN:
        sys.exit(exit_status.run(lambda _: train_alone(config), []))
    settings = compose.read(config)
    launchers.train_here([settings])
    if not _finished(settings):
        raise NoResult(settings.config.name)


def train_alone(config: DictConfig) -> int:
    """Train the one run of a command line, with the other processes of torchrun's where there are
    some; the exit status."""
    with errors.for_people():
        settings = compose.read(config)
    rank, size = process_group.rank_and_world_size()
    world_size.check(settings.config, size)
    if rank == 0:
        return _train([settings], lambda remaining: process.train_alone(settings))
    return 0 if _finished(settings) else process.assist(settings)


def train_sweep(context: HydraContext, config: DictConfig) -> int:
    """Train all runs of a multirun: what the sweeper `study` does; the exit status."""
    study = compose.expanded(context.config_loader, config)
    if (size := process_group.rank_and_world_size()[1]) > 1:
        raise ConfigError(
            f"torchrun's {size} processes train one run, and this is a study of "
            f"{len(study.settings)}; give torchrun one run at a time,\n"
            f"or cluster=slurm hydra.launcher.tasks_per_node={size} without torchrun"
        )
    return _train(
        study.settings, lambda remaining: launchers.train(study, remaining, context, config)
    )


def _train(runs: list[Settings], by: Callable[[list[Settings]], None]) -> int:
    """Train, by what is given, those runs that lack their result; the exit status."""
    try:
        remaining = [settings for settings in runs if not _finished(settings)]
        if len(runs) > 1 or not remaining:
            counts = len(runs), len(runs) - len(remaining)
            then = "" if remaining else ": nothing to train"
            log.info("runs: %d, of which %d are finished%s", *counts, then)
        if remaining:
            _prepare(remaining)
            by(remaining)
        stopping.check()
        return report(runs)
    except Interrupted:
        again = shlex.join(["python", "-m", "degradation.run", *sys.argv[1:]])
        log.warning("stopped; the same command goes on where it was:\n  %s", again)
        raise
    finally:
        process.finish_sync(runs)


def _finished(settings: Settings) -> bool:
    return RunDir.of(settings.config, settings.machine.runs).result() is not None


def _prepare(remaining: Sequence[Settings]) -> None:
    """See that there is data for one run at least, and a folder to write to."""
    faults = {data: sources.missing(data) for data in {s.config.data for s in remaining}}
    if all(faults.values()):
        raise DataError("\n".join(sorted({str(fault) for fault in faults.values()})))
    for runs in {s.machine.runs for s in remaining}:
        files.make_folder(Path(runs).expanduser())


def report(runs: Sequence[Settings]) -> int:
    """Print the errors, what went wrong, and what draws the figures; the exit status."""
    folder = runs[0].machine.runs
    found = progress.of_configs([settings.config for settings in runs], folder)
    if table := summary.as_text(progress.final_errors(found)):
        console.print_line(f"\n{table}\n")
    for run in found:
        if run.reason or not run.finished:
            line = f"{run.state}: {run.run.name} {run.reason}".rstrip()
            console.print_line(console.escape_control_chars(line))
    unfinished = sum(not run.finished for run in found)
    if unfinished:
        mended = "once that is mended, " if any(run.state == "failed" for run in found) else ""
        console.print_line(
            f"{unfinished} of {len(found)} runs have no result yet; {mended}the same command "
            "trains them"
        )
    console.print_line(f"figures: python analysis/plot_curves.py {folder}")
    return 1 if unfinished else 0
