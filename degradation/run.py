"""Train points: one, or every combination of a Hydra multirun, each in a process of its own.

    python -m degradation.run model=residual depth=20 data=digits
    python -m degradation.run -m model=plain,residual depth=20,56,110,1202
    python -m degradation.run +sweeps=quickstart

The same command again trains only what is missing and goes on where a point was cut. Exit status:
0 every point has its result, 1 one of them hasn't, 2 refused, 128 + n stopped by signal n.
"""

import logging
import shlex
import sys

import hydra
from omegaconf import DictConfig

from degradation import launch, schema, screen, status, study
from degradation.places import CONF
from degradation.spec import Settings
from degradation.store import Foreign

log = logging.getLogger("degradation")

_COMMAND = ("python", "-m", "degradation.run")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> None:
    """What Hydra calls for each point: it never raises for one that fails, so the others follow."""
    launch.train_point(study.read(config))


def cli() -> None:
    """The command: check every point, train what is missing, say how it ended."""
    screen.show_messages()
    launch.stopping.listen()
    line = study.Line.read(sys.argv[1:])
    if line.asks:
        main()
        return
    try:
        asked = study.settings(line)
        if pending(asked):
            main()
        launch.stopping.check()
        sys.exit(report(asked))
    except (schema.Invalid, Foreign) as error:
        print(error, file=screen.Unheard(sys.stderr))
        sys.exit(2)
    except launch.Interrupted as stopped:
        again = shlex.join([*_COMMAND, *sys.argv[1:]])
        log.warning("stopped; the same command goes on where it was:\n  %s", again)
        sys.exit(128 + stopped.number)


def pending(asked: list[Settings]) -> bool:
    """Whether any point lacks its result; with one line on what there is to do."""
    entries = status.of_study([s.point for s in asked], asked[0].machine.runs)
    finished = sum(e.run.result() is not None for e in entries)
    if len(entries) > 1 or finished:
        log.info("%d points, %d of them finished%s", len(entries), finished,
                 "" if finished < len(entries) else ": nothing to train")  # fmt: skip
    return finished < len(entries)


def report(asked: list[Settings]) -> int:
    """Print the errors, what went wrong, and what draws the figures; the exit status."""
    runs = asked[0].machine.runs
    entries = status.of_study([s.point for s in asked], runs)
    if errors := status.table(entries):
        screen.say(f"\n{errors}\n")
    unfinished = [e for e in entries if e.run.result() is None]
    for entry in entries:
        if entry.reason or entry in unfinished:
            screen.say(f"{entry.state}: {entry.run.name} {entry.reason}".rstrip())
    if unfinished:
        screen.say(f"{len(unfinished)} of {len(entries)} points have no result yet; the same "
                   "command trains them")  # fmt: skip
    screen.say(f"figures: python analysis/plot_curves.py {runs}")
    return 1 if unfinished else 0


if __name__ == "__main__":
    cli()
