"""A folder to do harm in, and the commands as a person types them there."""

import atexit
import dataclasses
import functools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from analysis import plot_curves, report
from analysis.page import verdict
from degradation.commands import status, train
from degradation.config import schema
from degradation.config.study import Line, settings
from degradation.evaluation import layer_responses
from degradation.launch import process
from degradation.runs.run_dir import RunDir
from degradation.tracking import sync
from degradation.training import worker

from . import child
from .child import Outcome

SMALL = [
    "data=digits",
    "depth=8",
    "recipe.iterations=12",
    "recipe.milestones=[6,9]",
    "recipe.batch_size=16",
    "model.width=4",
    "recipe.eval_every=4",
    "machine.device=cpu",
    "machine.wandb=disabled",
    "machine.progress=none",
]


def asked(*words: str) -> schema.Settings:
    """What a command line asks for: its first run, and the machine."""
    return settings(Line.read(words))[0]


@functools.cache
def small(runs: str) -> schema.Settings:
    """The small run, with its runs in `runs`."""
    return asked(*SMALL, f"machine.runs={runs}")


@dataclass
class Place:
    """A folder for one fault. `changed` are substitutions, done in the child alone."""

    folder: Path
    changes: list[Callable[[], object]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    user: int | None = None

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def change(self, target: object, name: str, value: object) -> None:
        """Have the command find `value` at `target.name`."""
        self.changes.append(lambda: setattr(target, name, value))

    def call(self, command: Callable[[], object], memory: int | None = None) -> Outcome:
        """COMMAND in a child, in this folder, with no more than `memory` bytes beyond today's."""

        def all_of_it() -> object:
            for change in self.changes:
                change()
            return command()

        home = {"HOME": str(self.folder / "home")}
        return child.run(all_of_it, self.folder, home | self.variables, self.user, memory)

    def run(self, *words: str) -> Outcome:
        """python -m degradation.run WORDS"""
        return self.call(functools.partial(_with_arguments, train.cli, words))

    def small(self, *words: str) -> Outcome:
        """The same, for the small run; options are WORDS that come first."""
        options = [word for word in words if word.startswith("-")]
        return self.run(*options, *SMALL, *(word for word in words if word not in options))

    def status(self, *words: str) -> Outcome:
        return self.call(lambda: status.main(list(words)))

    def mirror(self, *words: str) -> Outcome:
        return self.call(lambda: sync.main(list(words)))

    def probe(self, *words: str) -> Outcome:
        return self.call(lambda: layer_responses.main(list(words)))

    def plot(self, *words: str) -> Outcome:
        return self.call(functools.partial(_with_arguments, plot_curves.main, words))

    def report(self, *words: str) -> Outcome:
        return self.call(functools.partial(_with_arguments, report.main, words))

    def verdict(self, *words: str) -> Outcome:
        return self.call(functools.partial(_with_arguments, verdict.main, words))

    def worker(self, *words: str) -> Outcome:
        """The process that trains the small run, or the one that WORDS make of it."""
        wanted = asked(*SMALL, *words) if words else small("runs")
        made = RunDir.of(wanted.config, self.runs)
        if not made.folder.is_symlink():
            made.checkpoints.mkdir(parents=True, exist_ok=True)
        if not (made.folder.is_symlink() or os.path.lexists(made.config_json)):
            made.config_json.write_text(json.dumps(schema.plain(wanted.config)))
        arguments = process.command([made], wanted.machine)[3:]
        outcome = self.call(lambda: worker.main(arguments))
        left = made.failed_json  # what `run` prints of it, and the report
        told = json.loads(left.read_bytes())["message"] if left.is_file() else ""
        return dataclasses.replace(outcome, text=f"{outcome.text}{told}")

    def trained(self) -> RunDir:
        """The small run's folder, trained to its end."""
        shutil.copytree(_trained(), self.runs, dirs_exist_ok=True)
        return RunDir.of(small("runs").config, self.runs)

    def partial(self) -> RunDir:
        """The same, as if it had been killed behind its last row."""
        made = self.trained()
        made.done_json.unlink()
        return made

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


def _with_arguments(command: Callable[[], object], words: tuple[str, ...]) -> object:
    sys.argv = ["command", *words]
    return command()


@functools.cache
def _trained() -> Path:
    """A folder of runs with the small run, trained once."""
    place = Place(Path(tempfile.mkdtemp(prefix="trained-")))
    atexit.register(shutil.rmtree, place.folder, True)
    done = place.worker()
    assert done.status == 0, done.text
    return place.runs
