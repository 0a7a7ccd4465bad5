"""Test finished ImageNet runs as the paper's tables do: ten crops, and whole images at scales.

    degradation evaluate [runs/ | runs/NAME …]
    degradation evaluate runs/ --only ten_crops --batches 0

The curves' errors are those of one center crop (Figure 4); Tables 2 and 3 have ten, Table 4 five
scales. Each is measured with the running averages of batch normalisation, as the curves are, and
with the true ones over `--batches` training batches, as the authors took them. The result is
`evaluation.json` in each run's folder, of which `analysis/plot_curves.py` makes tables. Exit
status: 0, 2 where a run can't be read, 3 no data, 5 the disk refused.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import Folder
from degradation.data.image_folder.loader import WHITE, FolderStream, Shift
from degradation.evaluation import multi_crop, weights
from degradation.evaluation.multi_crop import CropImage, Score
from degradation.runs.run_dir import RunDir, RunDirError, runs_in
from degradation.system import console
from degradation.system import files as storage
from degradation.training import checkpoint
from degradation.training.devices import device as machine
from degradation.training.state import fresh

TESTS = ("ten_crops", "scales")
SCALES = (224, 256, 384, 480, 640)  # for crops of 224; for others in proportion


def evaluate(
    run: RunDir, device: torch.device, tests: tuple[str, ...], batches: int, most: int | None
) -> dict[str, Any]:
    """What `evaluation.json` holds. Raises RunDirError, ConfigError, DataError, checkpoint.CheckpointError.

    `most`: images of val/ that are looked at, the first ones; None: all.
    """
    config, content = run.config(), checkpoint.newest(run.checkpoints)
    if content is None:
        raise RunDirError(f"{run.folder} has no checkpoint; train the run first")
    source = sources.load(config.data)
    if not isinstance(source, Folder) or config.model.design != "imagenet":
        raise ConfigError(f"{run.name}: images have one size there; the curves' test error is all")
    network = fresh(config, source, device).network
    weights.fit(network, weights.named(checkpoint.decode(content)[0]))
    found: dict[str, Any] = {
        "images": min(most or len(source.test), len(source.test)), "classes": source.classes,
        "batches": batches, "running": {}, "true": {},
    }  # fmt: skip
    for averages in ("running", "true") if batches else ("running",):
        stream = FolderStream(source, config.seed, config.recipe.batch_size, device, 0)
        within = (
            multi_crop.true_averages(network, (stream.batch(i)[0] for i in range(batches)))
            if averages == "true"
            else nullcontext()
        )
        with within:
            for test in tests:
                images = _images(source, most, f"{run.name} {test}, {averages} averages")
                ready = Ready(source, device)
                found[averages][test] = multi_crop.errors(
                    network, images, ready, _score(test, config)
                )
    return found


class Ready:
    """Makes of a image's bytes what the network was trained on."""

    def __init__(self, source: Folder, device: torch.device) -> None:
        self.shift = torch.from_numpy(Shift(source).of(None, 1)).to(device)
        self.device = device

    def __call__(self, image: CropImage) -> Tensor:
        x = torch.from_numpy(np.array(image)).to(self.device)
        return (x.float() / WHITE + self.shift).permute(2, 0, 1)


def _score(test: str, config: RunConfig) -> Score:
    side, shorter = config.data.crop_size, config.data.eval_resize
    assert side is not None and shorter is not None
    if test == "ten_crops":
        return multi_crop.by_ten_crops(side, shorter, config.numerics.precision)
    return multi_crop.by_scales([round(scale * side / SCALES[0]) for scale in SCALES], side)


def _images(source: Folder, most: int | None, title: str) -> Iterator[tuple[CropImage, int]]:
    root, files = source.manifest.root, source.test
    rows = list(zip(files.paths, files.labels, strict=True))[:most]
    for path, label in tqdm(rows, desc=title, unit="image", disable=None, leave=False):
        try:
            with decode.opened(root / path) as image:
                yield np.asarray(decode.rgb(image)), label
        except decode.Unreadable as error:
            raise DataError(f"{root / path}: {error}; restore the file") from error


def summary(result: dict[str, Any]) -> str:
    """Top-1 / top-5 error in percent, test by test."""
    return ", ".join(
        f"{test.replace('_', ' ')} ({averages} averages) {one['top1']:.2f} / {one['top5']:.2f} %"
        for averages in ("running", "true")
        for test, one in result[averages].items()
    )


def main(arguments: list[str]) -> int:
    """The command; its exit status (see the module's head)."""
    asked = _parser().parse_args(arguments)
    console.show_messages()
    torch.set_num_threads(1)
    tests = tuple(asked.only or TESTS)
    try:
        device = machine.device(asked.device)
        for run in _named(asked.runs):
            result = evaluate(run, device, tests, asked.batches, asked.most)
            storage.write_json(run.evaluation, result)
            print(f"{run.name}: {summary(result)}", flush=True)
    except DataError as error:
        return _refused(error, 3)
    except storage.StorageError as error:
        return _refused(error, 5)
    except ValueError as error:
        return _refused(error, 2)
    print("tables, beside the paper's: python analysis/plot_curves.py")
    return 0


def _named(folders: list[Path]) -> list[RunDir]:
    """The runs that a command line names. Raises RunDirError where one has none."""
    runs: list[RunDir] = []
    for folder in folders or [Path("runs")]:
        if (folder / "config.json").exists():
            runs.append(RunDir(folder))
        elif below := [run for run in runs_in(folder) if run.state() == "done"]:
            runs += below
        else:
            raise RunDirError(f"{folder}: must be a run, or a folder with a finished one")
    return runs


def _refused(error: Exception, status: int) -> int:
    print(console.escape_control_chars(str(error)), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="degradation evaluate", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("runs", nargs="*", type=Path, help="folders of runs, or of run folders (runs/)")
    add("--only", action="append", choices=TESTS, help="one test alone")
    add("--batches", type=int, default=100, metavar="N",
        help="training batches for the true averages (%(default)s); 0: without them")  # fmt: skip
    add("--most", type=int, metavar="N", help="the first N images of val/ alone")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
