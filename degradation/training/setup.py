"""What a process needs to train a run: as the last checkpoint left it, or from the beginning."""

import dataclasses
import json
import logging
from typing import Any

from degradation.config import identity, schema, world_size
from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import ImageFolder
from degradation.models import identity_init, resnet
from degradation.models.kernels import library
from degradation.models.resnet import Network
from degradation.runs.run_dir import RunDir, whole_lines
from degradation.system import files, process_group, provenance
from degradation.system.console import short_repr
from degradation.system.signals import Stop
from degradation.training import checkpoint
from degradation.training.devices import device as machine
from degradation.training.devices import distributed
from degradation.training.devices.engine import Engine, record_for
from degradation.training.loop import Session
from degradation.training.run_logger import Recorder, Unrecorded, note_resume_mismatch
from degradation.training.state import State, fresh

log = logging.getLogger("degradation")


def prepare(run: RunDir, settings: schema.Machine, stop: Stop) -> Session:
    """Everything that training needs, as the last checkpoint left it or from the beginning.

    Raises ValueError (schema.ConfigError, DataError, checkpoint.CheckpointError, run_dir.RunDirError, Mismatch), and
    files.StorageError where the disk has no room for the checkpoints.
    """
    config = run.config()
    parts = settings.accumulate
    world_size.check(config, process_group.rank_and_world_size()[1], parts)
    device = machine.apply(settings, config.numerics)
    images = sources.load(config.data)
    all_of_us = distributed.join(device)
    fingerprint = machine.fingerprint(device, all_of_us.size, parts)
    if isinstance(images, ImageFolder):
        fingerprint |= decode.versions()
    if config.numerics.native:
        fingerprint |= library.versions()
    stream = loaders.train_loader(
        images, config, device, settings.workers, all_of_us.rank, all_of_us.size
    )
    state = fresh(config, images, device)
    if config.recipe.identity_init_from is not None:
        exam = loaders.eval_loader(
            images, "train", config, device, settings.workers, config.recipe.batch_size
        )
        grow_from_run(state.network, config, run, exam)
    digests = {
        "initial": resnet.parameters_digest(state.network),
        "stream": stream.digest(),
        "images": images.digest,
    }
    if all_of_us.writes:
        files.check_room(run.checkpoints, (checkpoint.KEEP + 1) * state.size)
    engine = Engine(
        config, state, stream, record_for(config.numerics.graph, device), parts, all_of_us
    )
    resume(run, config, state, fingerprint, settings.resume, all_of_us)
    recorder: Recorder | Unrecorded = Unrecorded()
    if all_of_us.writes:
        recorder = Recorder(run, state.rows, config.recipe.iterations, settings.progress)
        notes = images.notes if isinstance(images, ImageFolder) else {}
        note_start(run, state, fingerprint, digests, notes)
    return Session(
        config, run, state, stream, engine,
        loaders.eval_loaders(
            images, config, device, settings.workers, all_of_us.rank, all_of_us.size
        ),
        recorder, fingerprint, stop, settings.log_layers_every, all_of_us,
    )  # fmt: skip


def parent(config: schema.RunConfig) -> schema.RunConfig:
    """The run whose finished run `run` starts from."""
    assert config.recipe.identity_init_from is not None
    recipe = dataclasses.replace(config.recipe, identity_init_from=None, identity_init_noise=0.0)
    return dataclasses.replace(config, depth=config.recipe.identity_init_from, recipe=recipe)


def grow_from_run(
    network: Network, config: schema.RunConfig, run: RunDir, exam: loaders.EvalLoader
) -> None:
    """Turn the fresh `network` of `run` into its parent's, deepened.

    `run` is the run's own: the parent's lies beside it. `exam`: the training images. Raises
    ConfigError where the parent has not finished, checkpoint.CheckpointError where its state is not whole.
    """
    shallow = parent(config)
    source = RunDir(run.folder.parent / shallow.name)
    content = checkpoint.newest(source.checkpoints)
    if source.state() != "done" or content is None:
        raise ConfigError(
            f"recipe.identity_init_from={shallow.depth}: needs the finished run {source.folder}, which is "
            f"{source.state()}; train it first (the same command with depth={shallow.depth} "
            "recipe.identity_init_from=null recipe.identity_init_noise=0)"
        )
    tensors, _ = checkpoint.decode(content)
    head = "network."
    own = {name.removeprefix(head): t for name, t in tensors.items() if name.startswith(head)}
    identity_init.grow(network, config, own, exam)


class Mismatch(ValueError):
    """A checkpoint from other numerics."""


def resume(
    run: RunDir,
    config: schema.RunConfig,
    state: State,
    fingerprint: dict[str, Any],
    how: str,
    all_of_us: distributed.Ranks = distributed.ALONE,
) -> None:
    """Go on from the newest checkpoint, where there is one; rank 0 reads it for all.

    Raises checkpoint.CheckpointError, or Mismatch where the fingerprint differs and `how` isn't inexact.
    """
    content = checkpoint.newest(run.checkpoints) if all_of_us.writes else None
    content = all_of_us.told(content)
    if content is None:
        return
    try:
        tensors, meta = checkpoint.decode(content)
        checkpoint.check_meta(meta)
        if meta["run"] != config.name:
            raise checkpoint.CheckpointError(f"the newest is a checkpoint of {short_repr(meta['run'])}, which "
                                     "belongs elsewhere")  # fmt: skip
        if lines := identity.difference(meta["fingerprint"], fingerprint):
            if how != "inexact":
                raise Mismatch(
                    f"{run.name} was begun under other numerics, and would not be the same run:\n  "
                    + "\n  ".join(lines)
                    + "\ngo on where it began, or say machine.resume=inexact, which marks the run"
                )
            if all_of_us.writes:
                note_resume_mismatch(run, {"iteration": meta["iteration"], "fingerprint": lines})
        state.load(tensors, meta)
    except checkpoint.CheckpointError as error:
        raise checkpoint.CheckpointError(f"{run.checkpoints}: {error}; remove {run.folder} to train the "
                                 "run anew") from error  # fmt: skip
    if all_of_us.writes:
        log.info("%s goes on at iteration %d", run.name, state.iteration)


def note_start(
    run: RunDir,
    state: State,
    fingerprint: dict[str, Any],
    digests: dict[str, str],
    notes: dict[str, Any],
) -> None:
    """Write down what this process starts from. Raises ValueError where the data has changed."""
    earlier = whole_lines(run.launches_jsonl)
    if earlier and (lines := identity.difference(json.loads(earlier[-1])["digests"], digests)):
        raise Mismatch(f"{run.name} was begun on other data or initial weights:\n  "
                       + "\n  ".join(lines)
                       + f"\nrestore the data, or move {run.folder} away")  # fmt: skip
    start = {
        "at": provenance.now(),
        "host": provenance.host(),
        "iteration": state.iteration,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "fingerprint": fingerprint,
        "parameters": resnet.count_parameters(state.network),
        "digests": digests,
        **({"data": notes} if notes else {}),
    }
    files.append_line(run.launches_jsonl, json.dumps(start))
