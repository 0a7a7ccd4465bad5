"""Photographs as training and evaluation see them, beside a plain computation."""

import dataclasses
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.data.device_loader import Placement
from degradation.data.image_folder import decode, loader
from degradation.data.image_folder.imagenet import LIGHTING, MEAN
from degradation.data.image_folder.loader import FolderEvalLoader, FolderLoader
from degradation.data.image_folder.manifest import ImageFolder
from degradation.data.order import batch_table, below, draws
from degradation.system.paths import TOP
from tests.conftest import is_running, wait_until
from tests.data import photographs

CPU = torch.device("cpu")
ALONE = Placement(CPU, workers=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return photographs.make(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture
def dataset(root: Path) -> ImageFolder:
    return sources.load(photographs.data(root))


def folder_loader(dataset: ImageFolder, place: Placement = ALONE, batch_size: int = 5, **sizes):
    own = {f"data__{key}": value for key, value in sizes.items()}
    config = photographs.config(dataset.root, recipe__batch_size=batch_size, seed=3, **own)
    return FolderLoader(dataset, config, place)


def eval_loader(dataset: ImageFolder, place: Placement = ALONE, batch_size: int = 4):
    data = photographs.data(dataset.root)
    return FolderEvalLoader(dataset, dataset.test, data, place, batch_size)


# What an image becomes


def test_a_training_image_is_what_pillow_makes_of_it_step_by_step(dataset, root: Path) -> None:
    """Resized whole, cropped, mirrored, less the mean, with the noise: one after the other."""
    x, labels = folder_loader(dataset, batch_size=24).get_batch(1)
    table, drawn = batch_table(3, 24, 24, 12, 0, True), draws(3, 24, 24)
    assert 4 < table.flip.sum() < 20
    for i in range(24):
        image = Image.open(root / dataset.train.paths[table.index[i]]).convert("RGB")
        size = decode.resized_size(*image.size, 36 + below(25, drawn.side[i]))
        left, top = below(size[0] - 31, drawn.left[i]), below(size[1] - 31, drawn.top[i])
        crop = image.resize(size, Image.Resampling.BILINEAR).crop((left, top, left + 32, top + 32))
        if table.flip[i]:
            crop = ImageOps.mirror(crop)
        wanted = np.asarray(crop) / 255 - MEAN + drawn.lighting[i] @ LIGHTING
        found = x[i].permute(1, 2, 0).numpy()
        assert abs(found - wanted).max() < 2.1 / 255
        assert abs(found - wanted).mean() < 0.25 / 255
        assert labels[i] == dataset.train.labels[table.index[i]]


def test_an_evaluated_image_is_the_center_of_the_resized_whole(dataset, root: Path) -> None:
    batches = list(eval_loader(dataset))
    x, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert x.shape == (6, 3, 32, 32) and labels.tolist() == [0, 0, 1, 1, 2, 2]
    for i, path in enumerate(dataset.test.paths):
        image = Image.open(root / path).convert("RGB")
        width, height = decode.resized_size(*image.size, 36)
        left, top = (width - 32) // 2, (height - 32) // 2
        whole = image.resize((width, height), Image.Resampling.BILINEAR)
        crop = np.asarray(whole.crop((left, top, left + 32, top + 32)))
        assert abs((x[i].permute(1, 2, 0).numpy() + MEAN) * 255 - crop).max() < 2.1


def test_grey_cmyk_and_a_png_under_a_jpegs_name_are_images(tmp_path: Path) -> None:
    whole = photographs.image(5, 60, 44)
    crops = []
    for mode, form in (("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG")):
        whole.convert(mode).save(tmp_path / "image.JPEG", form)
        crops.append(decode.center_crop(tmp_path / "image.JPEG", 32, 36))
    assert (crops[0][..., 0] == crops[0][..., 2]).all()
    assert abs(crops[1].astype(int) - crops[2]).mean() < 8  # CMYK through JPEG


def test_what_is_no_photograph_is_refused_with_the_reason(tmp_path: Path) -> None:
    image, file = photographs.image(1, 40, 40), tmp_path / "image.JPEG"
    image.save(file, "GIF")
    assert decode.fault(file) == "no JPEG or PNG"
    image.quantize(16).save(file, "PNG")
    assert "neither colour nor grey" in decode.fault(file)
    image.save(file, "PNG", save_all=True, append_images=[photographs.image(2, 40, 40)])
    assert decode.fault(file) == "an animation"
    image.save(file)
    assert decode.fault(file) == ""
    os.truncate(file, file.stat().st_size // 2)
    assert "truncated" in decode.fault(file).lower()
    file.unlink()
    assert "No such file" in decode.fault(file)


# Who decodes it


def equal(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_are_equal_from_any_step_for_any_number_of_workers(dataset, workers: int) -> None:
    place = Placement(CPU, workers=workers)
    alone, made = folder_loader(dataset), folder_loader(dataset, place)
    for step in (0, 1, 2, 7, 8, 1, 0, 0):
        assert equal(made.get_batch(step), alone.get_batch(step))
    made.close()
    both = zip(eval_loader(dataset), eval_loader(dataset, place), strict=True)
    assert all(equal(a, b) for a, b in both)


def test_a_late_first_step_decodes_its_own_images_alone(dataset, monkeypatch) -> None:
    opened, seen = decode.opened, []
    monkeypatch.setattr(decode, "opened", lambda path: seen.append(path) or opened(path))
    folder_loader(dataset).get_batch(10**6)
    assert len(seen) == 5


def test_shares_of_a_batch_make_the_batch(dataset) -> None:
    """And those of an evaluation set the whole: each process decodes its own."""
    places = [Placement(CPU, workers=0, rank=rank, world_size=3) for rank in range(3)]
    for step in (0, 3):
        whole = folder_loader(dataset, batch_size=6).get_batch(step)
        parts = [folder_loader(dataset, place, 6).get_batch(step) for place in places]
        for column, shares in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(column, torch.cat(shares))
    evaluated = [eval_loader(dataset, place, 2) for place in places]
    found = torch.cat([labels for one in evaluated for _, labels in one])
    assert sorted(found.tolist()) == sorted(dataset.test.labels)


# The workers


def test_how_many_decode(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(32))
    gpu = torch.device("cuda")
    pairs = (("auto", gpu), ("auto", CPU), (0, gpu), (5, CPU))
    assert [loader.num_workers(*pair) for pair in pairs] == [16, 1, 0, 5]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert loader.num_workers("auto", gpu) == 3, "of a machine's cores each process has its share"


def test_a_loader_that_nobody_holds_ends_its_workers_at_once(dataset) -> None:
    """By itself, without the garbage collector."""
    before = {*multiprocessing.active_children()}
    gc.disable()
    try:
        made = folder_loader(dataset, Placement(CPU, workers=2))
        made.get_batch(0)
        workers = {*multiprocessing.active_children()} - before
        assert len(workers) == 2
        del made
        assert not any(worker.is_alive() for worker in workers)
    finally:
        gc.enable()


CHILD = """
import itertools, multiprocessing, sys, time
sys.path[:0] = sys.argv[1:2]
from pathlib import Path
import torch
from degradation.data import sources
from degradation.data.device_loader import Placement
from degradation.data.image_folder.loader import FolderLoader
from tests.data import photographs
config = photographs.config(Path(sys.argv[2]))
loader = FolderLoader(sources.load(config.data), config, Placement(torch.device("cpu"), workers=2))
for step in itertools.count():
    loader.get_batch(step)
    if step == 0:
        print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
    time.sleep(0.02)
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "run"])
def test_a_run_and_its_workers_end_together(killed: str, root: Path) -> None:
    """And a worker leaves Ctrl-C at the terminal to its run."""
    words = [sys.executable, "-c", CHILD, str(TOP), str(root)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, start_new_session=True, **pipes) as run:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        for worker in workers:
            os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert len(workers) == 2 and all(map(is_running, workers))
        os.kill(run.pid if killed == "run" else workers[0], signal.SIGKILL)
        _, err = run.communicate(timeout=30)
    assert run.returncode == (-signal.SIGKILL if killed == "run" else 1)
    assert killed == "run" or "DataLoader worker" in err
    wait_until(lambda: not any(map(is_running, workers)), 10)


# The real thing, small


def test_real_photographs_are_read_with_their_trap_listed(tmp_path: Path) -> None:
    place = os.environ.get("DEGRADATION_IMAGENET_MINI")
    if not place:
        pytest.skip("DEGRADATION_IMAGENET_MINI names no folder with a few real photographs")
    root = shutil.copytree(place, tmp_path / "mini", copy_function=os.symlink)
    trap = "train/ants/imageNotFound.gif"
    sizes = {"crop_size": 224, "resize_range": (256, 480), "eval_resize": 256}
    data = photographs.data(Path(root), **sizes)
    with pytest.raises(DataError, match=rf"{trap}: \.gif is no JPEG"):
        sources.load(data)
    (tmp_path / "skip.txt").write_text(f"{trap}\n")
    found = sources.load(dataclasses.replace(data, skip=str(tmp_path / "skip.txt")))
    assert found.counts == {"classes": 2, "train": 40, "val": 20, "skipped": 1}
    x, labels = folder_loader(found, batch_size=8, **sizes).get_batch(0)
    assert x.shape == (8, 3, 224, 224) and set(labels.tolist()) <= {0, 1}
    assert x.mean().abs() < 0.3 and 0.15 < x.std() < 0.4
