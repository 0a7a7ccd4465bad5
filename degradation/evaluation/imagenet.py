"""Test finished ImageNet runs as the paper's tables do: ten crops, and whole pictures at scales.

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

from degradation.config.schema import Point
from degradation.config.validation import Invalid
from degradation.data import sources
from degradation.data.dataset import DataError
from degradation.data.image_folder import decode
from degradation.data.image_folder.imagenet import Folder
from degradation.data.image_folder.loader import WHITE, FolderStream, Shift
from degradation.evaluation import multi_crop, weights
from degradation.evaluation.multi_crop import Picture, Score
from degradation.runs.run_dir import Foreign, Run, runs_in
from degradation.system import console
from degradation.system import files as storage
from degradation.training import checkpoint
from degradation.training.devices import device as machine
from degradation.training.state import fresh

TESTS = ("ten_crops", "scales")
SCALES = (224, 256, 384, 480, 640)  # for crops of 224; for others in proportion


def evaluate(
    run: Run, device: torch.device, tests: tuple[str, ...], batches: int, most: int | None
) -> dict[str, Any]:
    """What `evaluation.json` holds. Raises Foreign, Invalid, DataError, checkpoint.Damaged.

    `most`: pictures of val/ that are looked at, the first ones; None: all.
    """
    point, content = run.point(), checkpoint.newest(run.checkpoints)
    if content is None:
        raise Foreign(f"{run.folder} has no checkpoint; train the point first")
    source = sources.load(point.data)
    if not isinstance(source, Folder) or point.model.design != "imagenet":
        raise Invalid(f"{run.name}: pictures have one size there; the curves' test error is all")
    network = fresh(point, source, device).network
    weights.fit(network, weights.named(checkpoint.decode(content)[0]))
    found: dict[str, Any] = {
        "pictures": min(most or len(source.test), len(source.test)), "classes": source.classes,
        "batches": batches, "running": {}, "true": {},
    }  # fmt: skip
    for averages in ("running", "true") if batches else ("running",):
        stream = FolderStream(source, point.seed, point.recipe.batch, device, 0)
        within = (
            multi_crop.true_averages(network, (stream.batch(i)[0] for i in range(batches)))
            if averages == "true"
            else nullcontext()
        )
        with within:
            for test in tests:
                pictures = _pictures(source, most, f"{run.name} {test}, {averages} averages")
                ready = Ready(source, device)
                found[averages][test] = multi_crop.errors(
                    network, pictures, ready, _score(test, point)
                )
    return found


class Ready:
    """Makes of a picture's bytes what the network was trained on."""

    def __init__(self, source: Folder, device: torch.device) -> None:
        self.shift = torch.from_numpy(Shift(source).of(None, 1)).to(device)
        self.device = device

    def __call__(self, picture: Picture) -> Tensor:
        x = torch.from_numpy(np.array(picture)).to(self.device)
        return (x.float() / WHITE + self.shift).permute(2, 0, 1)


def _score(test: str, point: Point) -> Score:
    side, shorter = point.data.crop, point.data.resize
    assert side is not None and shorter is not None
    if test == "ten_crops":
        return multi_crop.by_ten_crops(side, shorter, point.numerics.precision)
    return multi_crop.by_scales([round(scale * side / SCALES[0]) for scale in SCALES], side)


def _pictures(source: Folder, most: int | None, title: str) -> Iterator[tuple[Picture, int]]:
    root, files = source.manifest.root, source.test
    rows = list(zip(files.paths, files.labels, strict=True))[:most]
    for path, label in tqdm(rows, desc=title, unit="picture", disable=None, leave=False):
        try:
            with decode.opened(root / path) as picture:
                yield np.asarray(decode.rgb(picture)), label
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
    except storage.Failed as error:
        return _refused(error, 5)
    except ValueError as error:
        return _refused(error, 2)
    print("tables, beside the paper's: python analysis/plot_curves.py")
    return 0


def _named(folders: list[Path]) -> list[Run]:
    """The runs that a command line names. Raises Foreign where one has none."""
    runs: list[Run] = []
    for folder in folders or [Path("runs")]:
        if (folder / "point.json").exists():
            runs.append(Run(folder))
        elif below := [run for run in runs_in(folder) if run.state() == "done"]:
            runs += below
        else:
            raise Foreign(f"{folder}: must be a run, or a folder with a finished one")
    return runs


def _refused(error: Exception, status: int) -> int:
    print(console.shown(str(error)), file=sys.stderr)
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
    add("--most", type=int, metavar="N", help="the first N pictures of val/ alone")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
