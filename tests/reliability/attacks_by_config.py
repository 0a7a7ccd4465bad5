"""Hostile configurations: in somebody else's `--config-dir`, and on the command line. Z5, Z7."""

import copy
import functools
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from degradation.config import guard, study
from degradation.config.validation import ConfigError

from .attack import MARK, Attack
from .child import Outcome
from .place import SMALL, Place
from .targets import PLACES, TARGETS


@functools.cache
def _hydra() -> dict[str, Any]:
    """The `hydra` part as it is composed for an ordinary command."""
    with study.prepared(study.Line([], multirun=False, config_dir=None, asks=False)):
        composed = compose("config", [], return_hydra_config=True).hydra
        part: dict[str, Any] = OmegaConf.to_container(composed, resolve=False)  # type: ignore[assignment]
    guard.check(OmegaConf.create(part))
    return part


def _planted(where: str, target: str, place: Place) -> Outcome:
    """A composed part with the target in one place, as the guard sees it."""
    part = copy.deepcopy(_hydra())
    PLACES[where](part, target)

    def check() -> int:
        try:
            guard.check(OmegaConf.create(part))
        except ConfigError as error:
            print(error)
            return 2
        return 0

    return place.call(check)


# As files: the group's folder, the file's name and content, and the words that choose it.
CODE = f"open({MARK!r}, 'w')"
CALL = '{_target_: builtins.exec, _args_: ["' + CODE + '"]}'
SHELL = f"touch {MARK}"
FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a launcher that calls": (
        "hydra/launcher/evil.yaml",
        f"_target_: os.system\ncommand: {SHELL}\n",
        ("-m", "hydra/launcher=evil", "seed=0,1"),
    ),
    "a sweeper that calls": (
        "hydra/sweeper/evil.yaml",
        f"_target_: os.system\ncommand: {SHELL}\n",
        ("-m", "hydra/sweeper=evil", "seed=0,1"),
    ),
    "a callback": ("hydra/callbacks/evil.yaml", f"x: {CALL}\n", ("+hydra/callbacks=evil",)),
    "a log's factory": (
        "hydra/job_logging/evil.yaml",
        f"version: 1\nhandlers: {{x: {{(): os.system, command: {SHELL}}}}}\n"
        "root: {handlers: [x]}\n",
        ("hydra/job_logging=evil",),
    ),
    "Hydra's log's factory": (
        "hydra/hydra_logging/evil.yaml",
        f"version: 1\nhandlers: {{x: {{(): os.system, command: {SHELL}}}}}\n"
        "root: {handlers: [x]}\n",
        ("hydra/hydra_logging=evil",),
    ),
    "a log file outside": (
        "hydra/job_logging/evil.yaml",
        "version: 1\nhandlers: {x: {class: logging.FileHandler, filename: "
        "../outside/ran}}\nroot: {handlers: [x]}\n",
        ("hydra/job_logging=evil",),
    ),
    "a log over the network": (
        "hydra/job_logging/evil.yaml",
        "version: 1\nhandlers: {x: {class: logging.handlers.SocketHandler, "
        "host: 127.0.0.1, port: 9}}\nroot: {handlers: [x]}\n",
        ("hydra/job_logging=evil",),
    ),
    "a cluster that calls": (
        "cluster/evil.yaml",
        f"# @package _global_\nhydra: {{launcher: {CALL}}}\n",
        ("cluster=evil",),
    ),
    "a model that sets the environment": (
        "model/evil.yaml",
        "# @package _global_\nhydra: {job: {env_set: {LD_PRELOAD: /tmp/x.so}}}\n",
        ("model=evil",),
    ),
    "one model of a sweep that does": (
        "model/evil.yaml",
        "# @package _global_\nhydra: {job: {env_set: {LD_PRELOAD: /tmp/x.so}}}\n"
        "model: {shortcut: none, padding: back, width: 4}\n",
        ("-m", "model=plain,evil"),
    ),
    "a study that runs elsewhere": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {run: {dir: ../outside}}\n",
        ("+sweeps=evil",),
    ),
    "a study that sweeps elsewhere": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {mode: MULTIRUN, sweep: {dir: ../outside}, "
        "sweeper: {params: {seed: '0,1'}}}\n",
        ("+sweeps=evil",),
    ),
    "an axis of folders": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: "
        "{params: {hydra.run.dir: '../outside,../x'}}}\n",
        ("+sweeps=evil",),
    ),
    "an axis of launchers": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: "
        "{params: {hydra.launcher._target_: 'os.system,os.popen'}}}\n",
        ("+sweeps=evil",),
    ),
    "a search path": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {searchpath: [pkg://this]}\n",
        ("+sweeps=evil",),
    ),
    "a study that changes folder": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {job: {chdir: true}}\n",
        ("+sweeps=evil",),
    ),
    "a study that keeps its configuration elsewhere": (
        "sweeps/evil.yaml",
        "# @package _global_\nhydra: {output_subdir: ../../outside}\n",
        ("+sweeps=evil",),
    ),
    "joblib's expression": (
        "cluster/evil.yaml",
        "# @package _global_\ndefaults: [override /hydra/"
        f'launcher: joblib]\nhydra: {{launcher: {{pre_dispatch: "{CODE}"}}}}\n',
        ("-m", "cluster=evil", "seed=0,1"),
    ),
    "joblib's folder": (
        "cluster/evil.yaml",
        "# @package _global_\ndefaults: [override /hydra/launcher: "
        "joblib]\nhydra: {launcher: {temp_folder: ../outside}}\n",
        ("-m", "cluster=evil", "seed=0,1"),
    ),
    "SLURM's commands": (
        "hydra/launcher/evil.yaml",
        "_target_: hydra_plugins.hydra_submitit_launcher."
        f"submitit_launcher.SlurmLauncher\nsetup: ['{SHELL}']\n",
        ("-m", "hydra/launcher=evil", "seed=0,1"),
    ),
    "SLURM's python": (
        "hydra/launcher/evil.yaml",
        "_target_: hydra_plugins.hydra_submitit_launcher."
        "submitit_launcher.SlurmLauncher\npython: '/tmp/evil'\n",
        ("-m", "hydra/launcher=evil", "seed=0,1"),
    ),
    "SLURM's partition with a line end": (
        "hydra/launcher/evil.yaml",
        "_target_: hydra_plugins.hydra_submitit_launcher.submitit_launcher."
        f'SlurmLauncher\npartition: "x\\n{SHELL}"\n',
        ("-m", "hydra/launcher=evil", "seed=0,1"),
    ),
    "Ray's cluster": (
        "hydra/launcher/evil.yaml",
        "_target_: hydra_plugins.hydra_ray_launcher."
        "ray_launcher.RayLauncher\nray: {init: {address: 'ray://evil:1'}}\n",
        ("-m", "hydra/launcher=evil", "seed=0,1"),
    ),
    "YAML that calls": (
        "recipe/evil.yaml",
        f"x: !!python/object/apply:os.system ['{SHELL}']\n",
        ("recipe=evil",),
    ),
    "YAML that imports": ("recipe/evil.yaml", "x: !!python/module:this\n", ("recipe=evil",)),
    "a recipe with a _target_": (
        "recipe/evil.yaml",
        f"_target_: os.system\ncommand: {SHELL}\n",
        ("recipe=evil",),
    ),
    "a machine elsewhere, spelt for a terminal": (
        "machine/evil.yaml",
        'runs: "\\e]0;ran\\a"\n',
        ("machine=evil",),
    ),
    "a W&B project from a secret": (
        "sweeps/evil.yaml",
        "# @package _global_\nmachine: {wandb_project: '${oc.env:WANDB_API_KEY}'}\n",
        ("+sweeps=evil",),
    ),
    "a study's name from a secret, decoded": (
        "sweeps/evil.yaml",
        "# @package _global_\nstudy: '${oc.decode:${oc.env:AWS_SECRET}}'\n",
        ("+sweeps=evil",),
    ),
    "a secret by a computed name": (
        "sweeps/evil.yaml",
        "# @package _global_\nstudy: '${oc.env:${data.root}}'\n",
        ("+sweeps=evil", "data.root=X_KEY"),
    ),
    "doubling": (
        "sweeps/evil.yaml",
        "# @package _global_\nmachine:\n  runs: ${study}${study}\n"
        "study: ${data.root}${data.root}\ndata: {root: '${data.name}${data.name}${data.name}"
        "${data.name}${data.name}${data.name}${data.name}${data.name}${data.name}'}\n",
        ("+sweeps=evil",),
    ),
    "a folder that shadows ours": (
        "model/plain.yaml",
        f"_target_: os.system\ncommand: {SHELL}\n",
        (),
    ),
    "a configuration of its own": (
        "config.yaml",
        f"hydra: {{callbacks: {{x: {CALL}}}}}\n",
        ("--config-name=config",),
    ),
}


def _file(name: str, content: str, words: tuple[str, ...], place: Place) -> Outcome:
    place.write(f"own/{name}", content)
    place.variables |= {"WANDB_API_KEY": "c0ffee", "AWS_SECRET": "c0ffee", "X_KEY": "c0ffee"}
    options = [word for word in words if word.startswith("-")]
    others = [word for word in words if word not in options]
    outcome = place.run(*options, "--config-dir=own", *SMALL, *others)
    assert "c0ffee" not in outcome.text, "a secret was shown"
    return outcome


def _typed(words: tuple[str, ...], place: Place) -> Outcome:
    (place.folder / "evil").mkdir()
    (place.folder / "evil" / "__init__.py").write_text(CODE)
    return place.small(*words)


TYPED: list[tuple[str, ...]] = [
    ("hydra.run.dir=../outside",),
    ("hydra.run.dir=${oc.env:HOME}/x",),
    ("hydra.sweep.dir=../outside",),
    ("hydra.sweep.subdir=../../outside",),
    ("hydra.output_subdir=../../outside",),
    ("hydra.job.chdir=true",),
    ("hydra.job.name=../../outside/x",),
    ("+hydra.job.env_set.PATH=/tmp",),
    ("+hydra.job.env_copy=[AWS_SECRET]",),
    ("hydra.searchpath=[pkg://evil]",),
    ("+hydra.searchpath=[file://evil]",),
    ("--cfg=job", "hydra.searchpath=[pkg://evil]"),
    ("--info=config", "hydra.searchpath=[pkg://evil]"),
    ("--config-path=evil",),
    ("--config-name=evil",),
    ("--experimental-rerun=evil.pickle",),
    ("--exper=evil.pickle",),
    ("+hydra.callbacks.x._target_=evil",),
    ("hydra.launcher._target_=evil",),
    ("hydra.sweeper._target_=evil",),
    ("+hydra.launcher.x._target_=evil",),
    ("hydra.job_logging.handlers.console.class=evil.X",),
    (
        "+hydra.job_logging.handlers.x.class=logging.FileHandler",
        "+hydra.job_logging.handlers.x.filename=../outside/x",
    ),
    ("++hydra.env.x=1",),
    ("hydra/env=evil",),
    ("+hydra/callbacks=evil",),
    ("machine.runs=a\x00b",),
    ("machine.runs=a\nb",),
    ("machine.runs=\u202egnp.exe",),
    ("machine.runs=\x1b[2J",),
    ("data.root=\x7f",),
    ("study=../up",),
    ("study=a/b",),
    ("study=$(id)",),
    ("study=;id",),
    ("study=`id`",),
    ("study=%00",),
    ("study==cmd()",),
    ("study=<script>",),
    ("study=\u202e",),
    (f"study={'x' * 300}",),
    ("machine.wandb_project=../../x",),
    ("machine.wandb_entity=a/../b",),
    ("seed=range(100000000000)", "-m"),
    ("depth=" + "[" * 900,),
    ("recipe.lr=1e999",),
    ("machine.device=cuda:99999999999999999999",),
    ("depth=9" + "9" * 1500,),
]


def attacks(full: bool) -> list[Attack]:
    """All of them; the quick form takes each target in one place, each place with some target."""
    places = list(PLACES)
    pairs = [
        (where, target)
        for i, target in enumerate(TARGETS)
        for j, where in enumerate(places)
        if full or i % len(places) == j
    ]
    return [
        *(
            Attack("config", f"{where} names {target}", functools.partial(_planted, where, target))
            for where, target in pairs
        ),
        *(Attack("config", what, functools.partial(_file, *how)) for what, how in FILES.items()),
        *(
            Attack(
                "name" if "hydra" not in words[0] and "--" not in words[0] else "config",
                f"typed: {' '.join(words)[:60]}".encode("unicode_escape").decode(),
                functools.partial(_typed, words),
            )
            for words in TYPED
        ),
    ]
