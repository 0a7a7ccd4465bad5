"""The one command: `degradation COMMAND …`, and the same as `python -m degradation COMMAND …`.

A first word that names no command belongs to `train`: `degradation +sweeps=figure6` trains.
"""

import sys
from importlib import import_module

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
    """Hand the rest of the command line to the command that its first word names."""
    words = sys.argv[1:]
    if words and words[0] in COMMANDS and words[0] != "train":
        from degradation.commands import exit_status

        sys.exit(exit_status.run(import_module(COMMANDS[words[0]]).main, words[1:]))
    if words[:1] == ["train"]:
        del sys.argv[1]
    import_module(COMMANDS["train"]).cli()


if __name__ == "__main__":
    main()
