"""What a process needs to train a run: as the last checkpoint left it, or from the beginning."""

import dataclasses
import json
import logging
import socket
from typing import Any

from degradation.config import identity, schema, world_size
from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.device_loader import Placement, memory_format
from degradation.data.image_folder.manifest import ImageFolder
from degradation.data.sources import Source
from degradation.models import resnet
from degradation.models.identity_init import initialize_as_identity
from degradation.runs.run_dir import RunDir, whole_lines
from degradation.system import files, process_group, provenance
from degradation.system.console import short_repr
from degradation.system.signals import Stop
from degradation.training import checkpoint
from degradation.training.checkpoint import CheckpointError
from degradation.training.devices import device as devices
from degradation.training.devices import distributed
from degradation.training.devices.cuda_graph import capture_for
from degradation.training.devices.engine import Engine
from degradation.training.loop import TrainContext
from degradation.training.run_logger import RunLogger, note_resume_mismatch
from degradation.training.state import State, fresh

log = logging.getLogger("degradation")


class MismatchError(ValueError):
    """What a run was begun with differs from what there is now: numerics, data, initial weights."""

    def __init__(self, begun: str, differences: list[str], remedy: str) -> None:
        # On the first line, which is what the list of failed runs shows.
        super().__init__(f"{begun} {'; '.join(differences)}\n{remedy}")


def prepare(run: RunDir, machine: schema.Machine, stop: Stop) -> TrainContext:
    """Everything that training needs, as the last checkpoint left it or from the beginning.

    Raises ValueError (ConfigError, DataError, CheckpointError, RunDirError, MismatchError), and
    StorageError where the disk has no room for the checkpoints.
    """
    config = run.config()
    world_size.check(config, process_group.rank_and_world_size()[1])
    device = devices.apply(machine, config.numerics)
    dataset = sources.load(config.data)
    group = distributed.join(device)
    layout = memory_format(config.numerics)
    place = Placement(device, layout, machine.workers, group.rank, group.size)
    loader = loaders.train_loader(dataset, config, place)
    state = fresh(config, dataset, device, group)
    if config.recipe.identity_init_from is not None:
        initialize_from_run(state, config, run, dataset, place)
    if group.is_main:
        files.check_room(run.checkpoints, (checkpoint.KEEP + 1) * state.size)
    capture = capture_for(config.numerics.graph, device)
    engine = Engine(config.numerics, state, device, capture)
    fingerprint = devices.fingerprint(config, device, group.size)
    digests = {
        "initial": resnet.parameters_digest(state.network),
        "stream": loader.digest(),
        "images": dataset.digest,
    }
    resume(run, config, state, fingerprint, machine.resume)
    logger = None
    if group.is_main:
        iterations, progress = config.recipe.iterations, machine.progress
        logger = RunLogger(run, state.rows, state.iteration, iterations, progress)
        note_launch(run, state, fingerprint, digests, dataset)
    eval_loaders = loaders.eval_loaders(dataset, config, place)
    # Another run of this process may read the images that were laid out here, on its own stream.
    engine.finish()
    context = config, run, state, loader, engine, eval_loaders, logger, fingerprint, stop
    return TrainContext(*context, machine.log_layers_every)


def parent(config: schema.RunConfig) -> schema.RunConfig:
    """The run from whose end this one starts, by identity initialization."""
    assert config.recipe.identity_init_from is not None
    recipe = dataclasses.replace(config.recipe, identity_init_from=None, identity_init_noise=0.0)
    return dataclasses.replace(config, depth=config.recipe.identity_init_from, recipe=recipe)


def initialize_from_run(
    state: State, config: schema.RunConfig, run: RunDir, dataset: Source, place: Placement
) -> None:
    """Turn a fresh network into its parent's, deepened; the parent's folder lies beside the run's.

    Raises ConfigError where the parent has not finished, CheckpointError where its state is not
    whole.
    """
    shallow = parent(config)
    source = RunDir(run.folder.parent / shallow.name)
    content = checkpoint.newest(source.checkpoints)
    if source.state() != "done" or content is None:
        raise ConfigError(
            f"recipe.identity_init_from={shallow.depth}: needs the finished run {source.folder}, "
            f"which is {source.state()}; train it first (the same command with "
            f"depth={shallow.depth} recipe.identity_init_from=null recipe.identity_init_noise=0)"
        )
    tensors, _ = checkpoint.decode(content)
    own = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
    # Each process measures all of them, and all have the same network.
    whole = dataclasses.replace(place, rank=0, world_size=1)
    batches = loaders.eval_loader(dataset, "train", config, whole, config.recipe.batch_size)
    initialize_as_identity(state.network, config, own, batches)


def resume(
    run: RunDir, config: schema.RunConfig, state: State, fingerprint: dict[str, Any], how: str
) -> None:
    """Go on from the newest checkpoint, where there is one; rank 0 reads it for all.

    Raises CheckpointError, or MismatchError where the fingerprint differs and `how` isn't inexact.
    """
    group = state.group
    content = group.broadcast(checkpoint.newest(run.checkpoints) if group.is_main else None)
    if content is None:
        return
    try:
        tensors, meta = checkpoint.decode(content)
        if meta["run"] != config.name:
            raise CheckpointError(
                f"the newest is a checkpoint of {short_repr(meta['run'])}, which belongs elsewhere"
            )
        lines = identity.difference(meta["fingerprint"], fingerprint)
        if lines and how != "inexact":
            begun = f"{run.name} was begun under other numerics, which give other bits:"
            remedy = "go on where it began, or give machine.resume=inexact, which marks the run"
            raise MismatchError(begun, lines, remedy)
        if lines and group.is_main:
            mismatch = {"iteration": meta["iteration"], "fingerprint": lines}
            note_resume_mismatch(run, mismatch)
        state.load(tensors, meta)
    except CheckpointError as error:
        remedy = f"remove {run.folder} to train the run anew"
        raise CheckpointError(f"{run.checkpoints}: {error}; {remedy}") from error
    if group.is_main:
        log.info("%s goes on at iteration %d", run.name, state.iteration)


def note_launch(
    run: RunDir,
    state: State,
    fingerprint: dict[str, Any],
    digests: dict[str, str],
    dataset: Source,
) -> None:
    """Write down what this process starts from. Raises MismatchError where the data has changed."""
    earlier = whole_lines(run.launches_jsonl)
    if earlier and (lines := identity.difference(json.loads(earlier[-1])["digests"], digests)):
        begun = f"{run.name} was begun on other data or initial weights:"
        raise MismatchError(begun, lines, f"restore the data, or move {run.folder} away")
    launch = {
        "at": provenance.now(),
        "host": socket.gethostname(),
        "iteration": state.iteration,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "fingerprint": fingerprint,
        "parameters": resnet.count_parameters(state.network),
        "digests": digests,
    }
    if isinstance(dataset, ImageFolder):
        launch["data"] = dataset.notes
    files.append_line(run.launches_jsonl, json.dumps(launch))
