"""Train points: one, or every combination of a Hydra multirun, each in a process of its own.

    python -m degradation.run model=residual depth=20 data=digits
    python -m degradation.run -m model=plain,residual depth=20,56,110,1202
    python -m degradation.run +sweeps=quickstart
    python -m degradation.run +sweeps=figure6 --dry-run    what it would train, and what that costs

The same command again trains only what is missing and goes on where a run was cut. Exit status:
0 every run has its result, 1 one of them hasn't, 2 refused, 3 no run's data is there, 5 the
disk refused, 128 + n stopped by signal n.
"""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from degradation.commands import plan
from degradation.config import study, validation, world_size  # fmt: skip
from degradation.config.schema import Settings
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.launch import gpus, launchers, process
from degradation.runs import progress, summary
from degradation.runs.run_dir import RunDir, RunDirError
from degradation.system import console, files, process_group
from degradation.system.paths import CONF

log = logging.getLogger("degradation")

_COMMAND = ("python", "-m", "degradation.run")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> None:
    """Never called: Hydra is only asked here (--help, --cfg, completion), and answers itself."""


def cli() -> None:
    """The command: check every run, train what is missing, say how it ended."""
    console.show_messages()
    if "--dry-run" in sys.argv[1:]:
        sys.exit(plan.main([word for word in sys.argv[1:] if word != "--dry-run"]))
    process.stopping.listen()
    os.umask(os.umask(0o022) | 0o022)  # nothing that others may write, whoever writes it
    try:
        sys.exit(study_of(study.Line.read(sys.argv[1:])))
    except DataError as error:
        print(console.escape_control_chars(str(error)), file=console.IgnoreBrokenPipe(sys.stderr))
        sys.exit(3)
    except files.StorageError as error:
        print(console.escape_control_chars(str(error)), file=console.IgnoreBrokenPipe(sys.stderr))
        sys.exit(5)
    except (validation.ConfigError, RunDirError) as error:
        print(console.escape_control_chars(str(error)), file=console.IgnoreBrokenPipe(sys.stderr))
        sys.exit(2)
    except process.Interrupted as stopped:
        again = shlex.join([*_COMMAND, *sys.argv[1:]])
        log.warning("stopped; the same command goes on where it was:\n  %s", again)
        sys.exit(128 + stopped.number)


def study_of(line: study.Line) -> int:
    """Do what `line` asks for; the exit status. Raises ConfigError, RunDirError, DataError, Failed."""
    if line.asks:
        study.check_question(line)
        main()
        return 0
    asked = study.asked(line)
    rank, size = process_group.rank_and_world_size()
    if size > 1:
        check_together(line, asked, size)
    if rank:  # the first of them prepares, reports and writes
        return 0 if not pending(asked.settings) else process.assist(asked.settings[0])
    try:
        if left := pending(asked.settings):
            prepare(left)
            train(line, asked, left)
        process.stopping.check()
        return report(asked.settings)
    finally:
        process.leave_mirror([RunDir.of(s.config, s.machine.runs) for s in asked.settings])


def check_together(line: study.Line, asked: study.Asked, size: int) -> None:
    """Refuse what several processes of torchrun's can't train together. Raises ConfigError."""
    if line.multirun or len(asked.settings) > 1 or asked.launcher != "basic":
        raise ConfigError(
            f"torchrun's {size} processes train one run, and this asks for {len(asked.settings)} "
            f"by {asked.launcher}; say torchrun once a run,\nor python -m degradation.run with "
            f"cluster=slurm hydra.launcher.tasks_per_node={size}"
        )
    world_size.check(asked.settings[0].config, size, asked.settings[0].machine.accumulate)


def pending(asked: list[Settings]) -> list[Settings]:
    """The points that lack their result; with one line on what there is to do."""
    left = [s for s in asked if RunDir.of(s.config, s.machine.runs).result() is None]
    if len(asked) > 1 or not left:
        log.info("%d points, %d of them finished%s", len(asked), len(asked) - len(left),
                 "" if left else ": nothing to train")  # fmt: skip
    return left


def prepare(left: Sequence[Settings]) -> None:
    """See that there is data for one run at least, and a place for what they write."""
    faults = {one: sources.missing(one) for one in {s.config.data for s in left}}
    if all(faults.values()):
        raise DataError("\n".join(sorted({str(fault) for fault in faults.values()})))
    for runs in {s.machine.runs for s in left}:
        files.make_folder(Path(runs).expanduser())


def train(line: study.Line, asked: study.Asked, left: list[Settings]) -> None:
    """Train what is left: here, one after the other or sharing a GPU, or by a launcher."""
    machine = left[0].machine
    alone = asked.launcher == "basic" or (line.serial and gpus.visible() < 2)
    if alone and len(left) > 1 and process.shares_a_gpu(machine):
        process.train_together(longest_first(left))
    elif asked.launcher == "basic":
        for settings in left:
            process.train_point(settings)
    else:
        launchers.train(line, asked, left)


def longest_first(asked: list[Settings]) -> list[Settings]:
    """In the order of depth times iterations: a long run that begins last is waited for."""
    return sorted(asked, key=lambda s: -s.config.depth * s.config.recipe.iterations)


def report(asked: list[Settings]) -> int:
    """Print the errors, what went wrong, and what draws the figures; the exit status."""
    runs = asked[0].machine.runs
    found = progress.of_configs([s.config for s in asked], runs)
    if errors := summary.as_text(progress.final_errors(found)):
        console.print_line(f"\n{errors}\n")
    for entry in found:
        if entry.reason or not entry.finished:
            console.print_line(console.escape_control_chars(f"{entry.state}: {entry.run.name} {entry.reason}".rstrip()))
    if unfinished := sum(not entry.finished for entry in found):
        console.print_line(f"{unfinished} of {len(found)} points have no result yet; the same command "
                   "trains them")  # fmt: skip
    console.print_line(f"figures: python analysis/plot_curves.py {runs}")
    return 1 if unfinished else 0


if __name__ == "__main__":
    cli()
