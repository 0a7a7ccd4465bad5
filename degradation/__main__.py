"""The one command: `degradation COMMAND …`, and the same as `python -m degradation COMMAND …`."""

import sys
from importlib import import_module

from degradation.commands import exit_status
from degradation.config.validation import ConfigError
from degradation.system.console import did_you_mean, print_line
from degradation.system.paths import CONF

USAGE = """\
usage: degradation [COMMAND] …

Show, measure and explain the degradation problem of deep plain networks (He et al. 2015).

    train       train what is missing of a study (also: python -m degradation.run …)
    plan        what a study would train, and what that costs
    status      every run and its state; the final errors beside the paper's
    doctor      whether this machine is ready to train
    sync        send to W&B what it lacks
    dashboard   a study's dashboard in W&B
    evaluate    layer responses of finished runs; ImageNet errors by ten crops and scales
    data        check a folder of images
    bench       the speed of training on this machine

    degradation train +sweeps=quickstart      the degradation problem in some minutes on two cores
    degradation +sweeps=quickstart            the same: what is no command belongs to `train`
    degradation COMMAND --help                what a command takes

Figures, tables and the report are drawn by analysis/plot_curves.py, verdict.py and report.py."""

COMMANDS = {
    "train": "degradation.commands.train",
    "plan": "degradation.commands.plan",
    "status": "degradation.commands.status",
    "doctor": "degradation.commands.doctor",
    "sync": "degradation.tracking.sync",
    "dashboard": "degradation.tracking.dashboard",
    "evaluate": "degradation.commands.evaluate",
    "data": "degradation.commands.data",
    "bench": "degradation.bench.__main__",
}


def main() -> None:
    sys.exit(exit_status.run(command, sys.argv[1:]))


def command(words: list[str]) -> int:
    """Hand the words to the command that the first of them names; its exit status."""
    first = words[0] if words else "--help"
    if first in ("-h", "--help"):
        print_line(USAGE)
        return 0
    if first not in COMMANDS:
        if first.isidentifier():
            known, meant = ", ".join(COMMANDS), did_you_mean(first, COMMANDS)
            if (CONF / "sweeps" / f"{first}.yaml").exists():
                meant = f" (did you mean '+sweeps={first}'?)"
            raise ConfigError(f"{first}: no such command; must be one of {known}{meant}")
        first, words = "train", ["train", *words]
    status: int = import_module(COMMANDS[first]).main(words[1:])
    return status


if __name__ == "__main__":
    main()
