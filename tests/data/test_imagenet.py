"""Photographs as training and tests see them: what a plain computation gives, whoever decodes."""

import dataclasses
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from degradation.commands import train
from degradation.config import study
from degradation.data import loaders
from degradation.data.dataset import DataError
from degradation.data.image_folder import (
    decode,
    imagenet,
    loader,
    manifest,
    parallel_map,
    pca_lighting,
)
from degradation.data.image_folder.loader import FolderExam, FolderStream
from degradation.data.order import batch_table, below, draws
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP
from degradation.system.signals import Stop, Stopped
from degradation.training import (
    checkpoint,
    loop,
    setup,
    worker,
)
from degradation.training.devices.interleave import finish
from tests.conftest import After
from tests.data import photographs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return photographs.make(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture
def source(root: Path) -> imagenet.Folder:
    return imagenet.load(photographs.data(root))


def stream(source: imagenet.Folder, workers: int = 0, batch: int = 5, seed: int = 3):
    return FolderStream(source, seed, batch, CPU, workers)


# What is drawn

PINNED_SIDES = [13048351234550214122, 11379649843389797333]
PINNED_COLOUR = [-0.452728271484375, -1.6681365966796875, 0.2149810791015625]


def test_pinned_draws() -> None:
    found = draws(0, 10**9, 2)
    assert found.side.tolist() == PINNED_SIDES
    assert found.colour[0].tolist() == PINNED_COLOUR


def test_any_position_is_drawn_alike_from_anywhere() -> None:
    whole = draws(7, 0, 50)
    for start, size in ((0, 1), (13, 20), (49, 1)):
        part = draws(7, start, size)
        for name in ("side", "top", "left", "colour"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[start : start + size])
    assert not np.array_equal(draws(8, 0, 50).side, whole.side)


def test_draws_are_uniform_and_normal() -> None:
    found = draws(0, 0, 200_000)
    for raw in (found.side, found.top, found.left):
        values = np.bincount([below(225, r) for r in raw.tolist()], minlength=225)
        expected = len(raw) / 225
        assert ((values - expected) ** 2 / expected).sum() < 224 + 5 * (2 * 224) ** 0.5
    noise = found.colour
    assert abs(noise.mean(axis=0)).max() < 0.012
    assert abs(noise.std(axis=0) - 1).max() < 0.01
    assert abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.012
    assert abs((noise**4).mean() - 3) < 0.15  # twelve uniforms: 2.9


# What a image becomes


def test_a_training_image_is_what_pillow_makes_of_it_step_by_step(source, root: Path) -> None:
    """Resized whole, cropped, mirrored, less the mean, with the noise: one after the other."""
    mine = stream(source, batch=24)
    x, labels = mine.batch(1)
    table, drawn = batch_table(3, 24, 24, 12, 0, True), draws(3, 24, 24)
    assert 4 < table.flip.sum() < 20
    for i in range(24):
        image = Image.open(root / source.train.paths[table.index[i]]).convert("RGB")
        side = 36 + below(25, drawn.side[i])
        width, height = image.size
        short = min(width, height)
        size = (side * width // short, side * height // short)
        left, top = below(size[0] - 31, drawn.left[i]), below(size[1] - 31, drawn.top[i])
        crop = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 32, top + 32))
        if table.flip[i]:
            crop = ImageOps.mirror(crop)
        shift = sum(0.1 * source.colour.eigenvalues[k] * drawn.colour[i][k]
                    * np.array(source.colour.eigenvectors[k]) for k in range(3))  # fmt: skip
        expected = np.asarray(crop) / 255 - source.colour.mean + shift
        found = x[i].permute(1, 2, 0).numpy()
        assert abs(found - expected).max() < 2.1 / 255
        assert abs(found - expected).mean() < 0.25 / 255
        assert labels[i] == source.train.labels[table.index[i]]


def test_a_test_image_is_the_centre_of_the_resized_whole(source, root: Path) -> None:
    exam = FolderExam(source.test, source, CPU, 0, 4)
    x = torch.cat([x for x, _ in exam])
    labels = torch.cat([labels for _, labels in exam])
    assert x.shape == (6, 3, 32, 32) and labels.tolist() == [0, 0, 1, 1, 2, 2]
    for i, path in enumerate(source.test.paths):
        image = Image.open(root / path).convert("RGB")
        width, height = decode.resized(*image.size, 36)
        left, top = (width - 32) // 2, (height - 32) // 2
        whole = image.resize((width, height), Image.Resampling.BILINEAR)
        crop = np.asarray(whole.crop((left, top, left + 32, top + 32)))
        found = x[i].permute(1, 2, 0).numpy() + np.array(source.colour.mean)
        assert abs(found * 255 - crop).max() < 2.1


def test_drafting_is_another_point_and_the_same_scene(tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    photographs.image(1, 800, 600).save(large, quality=95)
    drawn = (0, 1 << 63, 1 << 63)
    views = [decode.training_view(large, 32, (36, 60), draft, drawn) for draft in (False, True)]
    difference = abs(views[0].astype(int) - views[1])
    assert 0 < difference.mean() < 3
    data = photographs.data(tmp_path)
    configs = [photographs.config(tmp_path), photographs.config(tmp_path, data__draft=True)]
    assert configs[0].hash != configs[1].hash and not data.draft


def test_mean_and_components_are_those_of_the_pixels(source, root: Path) -> None:
    pixels = np.concatenate([
        decode.centre_view(root / path, 32, 36).reshape(-1, 3) / 255 for path in source.train.paths
    ])  # fmt: skip
    found = source.colour
    assert found.sample == 12
    assert np.allclose(found.mean, pixels.mean(axis=0), atol=1e-8)
    vectors, values = np.array(found.eigenvectors), np.array(found.eigenvalues)
    covariance = np.cov(pixels.T, bias=True)
    assert np.allclose(vectors.T @ np.diag(values) @ vectors, covariance, atol=1e-7)
    assert list(values) == sorted(values, reverse=True)


def test_the_mean_is_measured_once_and_again_for_other_data(tmp_path: Path, monkeypatch) -> None:
    root = photographs.make(tmp_path / "set")
    calls = []
    measure = pca_lighting.measure
    monkeypatch.setattr(pca_lighting, "measure", lambda *a: calls.append(a) or measure(*a))
    first = imagenet.load(photographs.data(root)).colour
    assert imagenet.load(photographs.data(root)).colour == first and len(calls) == 1
    kept = next(root.glob(".degradation-colour-*.json"))
    kept.write_text(kept.read_text()[:40])  # torn, by whomever
    assert imagenet.load(photographs.data(root)).colour == first and len(calls) == 2
    photographs.image(99, 50, 50).save(root / "train/ants/new.JPEG")
    assert imagenet.load(photographs.data(root)).colour != first and len(calls) == 3


def test_read_only_data_is_measured_into_the_cache(tmp_path: Path, monkeypatch) -> None:
    root = photographs.make(tmp_path / "set")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    locking = files.lock

    def refusing(path: Path, *, wait: bool = False):
        if path.parent == root:
            raise files.StorageError(path, OSError(30, "Read-only file system"))
        return locking(path, wait=wait)

    monkeypatch.setattr(files, "lock", refusing)
    imagenet.load(photographs.data(root))
    assert list((tmp_path / "cache/degradation").glob(".degradation-colour-*.json"))


# Who decodes it


def batches(made: FolderStream, count: int, first: int = 0) -> list[torch.Tensor]:
    found = []
    for iteration in range(first, first + count):
        made.load(iteration, 1)
        x, labels = made.take(torch.zeros(1, dtype=torch.int64))
        found += [x.clone(), labels.clone()]
    return found


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_bytes_are_equal_for_any_number_of_processes(source) -> None:
    alone = batches(stream(source), 6)
    for workers in (1, 2):
        assert equal(batches(stream(source, workers), 6), alone)
    exams = [list(FolderExam(source.test, source, CPU, w, 4)) for w in (0, 2)]
    assert all(equal(list(a), list(b)) for a, b in zip(*exams, strict=True))


def test_any_iteration_is_begun_at_once_and_gone_back_to(source, monkeypatch) -> None:
    whole = batches(stream(source), 9)
    made = stream(source)
    assert equal(batches(made, 2, first=7), whole[14:])
    assert equal(batches(made, 2, first=1), whole[2:6])
    assert equal(list(made.batch(4)), whole[8:10])
    opened = decode.opened
    seen = []
    monkeypatch.setattr(decode, "opened", lambda path: seen.append(path) or opened(path))
    batches(stream(source), 1, first=10**6)
    assert len(seen) == 5


def test_several_rows_are_those_of_one_at_a_time(source) -> None:
    """As on a GPU, where a recording takes several batches before the host is asked again."""
    whole = batches(stream(source), 7)
    made = stream(source)
    made.rows = 3
    for name in ("bytes", "labels", "flip", "shift"):
        table = getattr(made, name)
        setattr(made, name, table.repeat(3, *[1] * (table.dim() - 1)))
    found = []
    for first, count in ((0, 3), (3, 3), (6, 1)):
        made.load(first, count)
        for row in range(count):
            found += made.take(torch.tensor([row]))
    assert equal(found, whole)


def test_order_is_a_permutation_shared_by_all_batch_sizes(source) -> None:
    jobs = [[i for i, _ in stream(source, batch=b).order.jobs(0)] for b in (12, 6)]
    assert sorted(jobs[0]) == list(range(12)) and jobs[0][:6] == jobs[1]
    digests = {stream(source, batch=b, seed=s).digest() for b in (5, 6) for s in (0, 1)}
    assert len(digests) == 4


def test_a_stream_that_nobody_holds_ends_its_processes_at_once(source) -> None:
    """By itself, without the collector."""
    gc.disable()
    try:
        made = stream(source, 2)
        made.load(0, 1)
        processes = children(os.getpid())
        assert len(processes) >= 2
        del made
        assert not alive(processes)
    finally:
        gc.enable()


# Training


def trained(root: Path, runs: Path, machine, **changes: object) -> RunDir:
    config = photographs.config(root, **changes)
    run = RunDir.of(config, str(runs))
    run.create(config)
    finish(worker.work(run, machine, Stop()))
    return run


def test_a_stopped_point_goes_on_to_the_same_bytes_with_other_processes(
    root: Path, tmp_path: Path, machine
) -> None:
    one = dataclasses.replace(machine, workers=1)
    none = dataclasses.replace(machine, workers=0)
    whole = trained(root, tmp_path / "whole", one)
    curves = whole.curves.read_bytes()
    assert [r["iteration"] for r in whole.rows()] == [2, 4, 6]
    assert "train_error_eval" in whole.rows()[-1]
    [start] = [json.loads(line) for line in whole.launches_jsonl.read_text().splitlines()]
    assert start["data"]["manifest"] == manifest.read(root).digest
    assert start["data"]["train"] == 12
    assert start["fingerprint"]["pillow"]
    for looks in (2, 5, 9):
        run = RunDir(tmp_path / f"cut{looks}" / whole.name)
        run.create(photographs.config(root))
        with pytest.raises(Stopped):
            finish(loop.train(setup.prepare(run, none, After(looks))))  # type: ignore[arg-type]
        finish(worker.work(run, one, Stop()))
        assert run.curves.read_bytes() == curves
        assert not run.resume_mismatches.exists()
        assert checkpoint.newest(run.checkpoints) == checkpoint.newest(whole.checkpoints)


def test_shares_of_a_batch_make_the_batch(source) -> None:
    """And those of an exam the exam: each process decodes its own."""
    for iteration in (0, 3):
        whole = FolderStream(source, 0, 6, CPU, 0).batch(iteration)
        parts = [FolderStream(source, 0, 6, CPU, 0, rank, 3).batch(iteration)
                 for rank in range(3)]  # fmt: skip
        for column, ours in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(column, torch.cat(ours))
    exams = [FolderExam(source.train, source, CPU, 0, 2, rank, 2) for rank in range(2)]
    found = torch.cat([labels for exam in exams for _, labels in exam])
    assert sorted(found.tolist()) == sorted(source.train.labels)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_that_breaks_in_training_is_named(tmp_path: Path, machine, workers: int) -> None:
    root = photographs.make(tmp_path / "set", train=2, val=1)
    source = imagenet.load(photographs.data(root))
    broken = root / source.train.paths[3]
    os.truncate(broken, 500)
    with pytest.raises(DataError, match=rf"{broken.name}: .*\n?.*data\.skip") as refusal:
        batches(stream(source, workers), 3)
    assert len(str(refusal.value).splitlines()) <= 6
    config = photographs.config(root, data__root=str(root))
    run = RunDir.of(config, machine.runs)
    run.create(config)
    status = finish(worker.config(run, dataclasses.replace(machine, workers=workers), Stop()))
    assert status == worker.DATA
    assert broken.name in run.failure()["message"]


def test_a_study_without_sound_data_is_refused_before_it_begins(tmp_path: Path) -> None:
    root = photographs.make(tmp_path / "set")
    (root / "val/ILSVRC2012_val_1.JPEG").touch()
    words = ["data=imagenet", "recipe=cifar10", "network=cifar10", "depth=8", f"data.root={root}",
             f"machine.runs={tmp_path / 'runs'}"]  # fmt: skip
    asked = study.settings(study.Line.read(words))
    with pytest.raises(DataError, match="lie in it directly"):
        train.prepare(asked)
    assert not (tmp_path / "runs").exists()
    (root / "val/ILSVRC2012_val_1.JPEG").unlink()
    train.prepare(asked)


def test_a_recording_engine_trains_alike_and_launches_the_exams(
    root: Path, tmp_path: Path, machine, monkeypatch
) -> None:
    """An exam that comes in pieces from the host can't lie in a recording."""
    plain = trained(root, tmp_path / "plain", machine)
    recorded = list[int]()

    def record(work, changed):
        recorded.append(len(changed))
        return work

    monkeypatch.setattr(setup, "record_for", lambda graph, device: record)
    again = trained(root, tmp_path / "recorded", machine)
    assert again.curves.read_bytes() == plain.curves.read_bytes()
    assert len(recorded) == 1  # the iteration, and neither exam


def test_a_run_does_not_go_on_on_other_images(tmp_path: Path, machine) -> None:
    root = photographs.make(tmp_path / "set", train=2, val=1)
    run = trained(root, tmp_path / "runs", machine)
    run.done_json.unlink()
    photographs.image(7, 50, 50).save(root / "train/ants/new.JPEG")
    with pytest.raises(setup.Mismatch, match="begun on other data"):
        setup.prepare(run, machine, Stop())


# Processes


CHILD = """
import sys, time
sys.path[:0] = sys.argv[1:2]
import torch
from tests.data import photographs
from pathlib import Path
from degradation.data.image_folder import imagenet
from degradation.data.image_folder import loader
source = imagenet.load(photographs.data(Path(sys.argv[2])))
stream = loader.FolderStream(source, 0, 5, torch.device("cpu"), 2)
stream.load(0, 1)
print("ready", flush=True)
for i in range(1, 10**6):
    stream.load(i, 1)
    time.sleep(0.02)
"""


def children(pid: int) -> set[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return {int(word) for word in found.stdout.split()}


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid)}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


@pytest.fixture
def decoding(root: Path) -> Iterator[tuple["subprocess.Popen[str]", set[int]]]:
    """A process that streams, with the two that decode for it."""
    words = [sys.executable, "-c", CHILD, str(TOP), str(root)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        decoders = children(process.pid)
        assert len(decoders) == 2
        yield process, decoders
    finally:
        process.kill()
        process.wait(30)
        for pipe in (process.stdout, process.stderr):
            assert pipe
            pipe.close()  # without waiting for its end, which another process might hold open


def gone_within(pids: set[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_decoder_outlives_its_point(decoding, number: int) -> None:
    process, decoders = decoding
    process.send_signal(number)
    process.wait(20)
    assert gone_within(decoders, 10)


def test_ctrl_c_at_a_terminal_is_the_points_own_affair(decoding) -> None:
    _, decoders = decoding
    for pid in decoders:
        os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    assert alive(decoders) == decoders


STARTING = """
import time
from degradation.data.image_folder import loader
ready = loader.leave_signals_to_parent
def slow(worker):
    print("starting", flush=True)
    time.sleep(1)
    ready(worker)
loader.leave_signals_to_parent = slow
"""


def test_nor_does_it_end_those_that_are_just_being_started(root: Path) -> None:
    words = [sys.executable, "-c", STARTING + CHILD, str(TOP), str(root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["starting\n"] * 2
        for pid in children(process.pid):
            os.kill(pid, signal.SIGINT)
        assert process.stdout.readline() == "ready\n"
        process.kill()


def test_a_killed_decoder_ends_the_point_with_the_reason(decoding) -> None:
    process, decoders = decoding
    os.kill(min(decoders), signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "DataLoader worker" in err
    assert gone_within(decoders, 10)


def test_the_reason_has_a_remedy() -> None:
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert "machine.workers=N" in worker._remedy(error, RunDir(Path("run")))


def test_how_many_decode(monkeypatch) -> None:
    monkeypatch.setattr(loader, "cores", lambda: 32)
    gpu = torch.device("cuda")
    asked = [loader.processes(w, d) for w, d in (("auto", gpu), ("auto", CPU), (0, gpu), (5, CPU))]
    assert asked == [16, 1, 0, 5]


def test_many_files_are_spread_over_processes_in_order(monkeypatch) -> None:
    monkeypatch.setattr(parallel_map, "MANY", 4)
    numbers = list(range(100))
    assert list(parallel_map.spread(abs, numbers, "test", workers=2)) == numbers
    with pytest.raises(RuntimeError, match="died"):
        list(parallel_map.spread(_dies, numbers, "test", workers=2))


def _dies(number: int) -> int:
    if number == 70:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


# The real thing, small


def test_the_small_imagenet_is_read_with_its_trap_listed(tmp_path: Path) -> None:
    place = os.environ.get("DEGRADATION_IMAGENET_MINI")
    if not place:
        pytest.skip("DEGRADATION_IMAGENET_MINI names no folder with a few real photographs")
    shown = {"crop": 224, "scale": (256, 480), "resize": 256}
    place = shutil.copytree(place, tmp_path / "mini", copy_function=os.symlink)
    trap = "train/ants/imageNotFound.gif"
    with pytest.raises(DataError, match=rf"{trap}: \.gif is no JPEG"):
        imagenet.load(photographs.data(Path(place), **shown))
    listed = tmp_path / "skip.txt"
    listed.write_text(f"{trap}\n")
    found = imagenet.load(photographs.data(Path(place), skip=str(listed), **shown))
    assert found.manifest.counts == {"classes": 2, "train": 40, "val": 20, "skipped": 1}
    assert found.verified
    x, labels = stream(found, batch=8).batch(0)
    assert x.shape == (8, 3, 224, 224) and set(labels.tolist()) <= {0, 1}
    assert x.mean().abs() < 0.3 and 0.15 < x.std() < 0.4


def test_feed_gives_either_kind(root: Path, source) -> None:
    assert set(loaders.exams(source, CPU, 0)) == {"test", "train"}
    made = loaders.stream(source, photographs.config(root), CPU, 0)
    assert isinstance(made, FolderStream) and made.length == 12
