"""Finished ImageNet runs tested as the paper's tables do: ten crops, and whole images at scales.

The curves' errors are those of one center crop (Figure 4); Tables 2 and 3 have ten, Table 4 five
scales. Each is measured with the running averages of batch normalization, as the curves are, and
with true ones over some training batches, as the authors took them.
"""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.device_loader import Placement, memory_format
from degradation.data.image_folder.loader import FileImages, decoded, normalized
from degradation.data.image_folder.manifest import ImageFolder
from degradation.evaluation import multi_crop
from degradation.evaluation.weights import trained_network
from degradation.models.resnet import Network
from degradation.runs.run_dir import RunDir

TESTS = ("ten_crops", "scales")
SCALES = (224, 256, 384, 480, 640)
"""Shorter sides for crops of 224; for others in proportion."""
BATCHES = 100  # of training images, over which true averages are taken
IMAGES_AT_A_TIME = {"ten_crops": 25, "scales": 1}


def evaluate(run: RunDir, device: torch.device) -> dict[str, Any]:
    """What `evaluation.json` holds. Raises ConfigError where the run's images are of one size."""
    config = run.config()
    dataset = sources.load(config.data)
    if not isinstance(dataset, ImageFolder) or config.model.design != "imagenet":
        raise ConfigError(
            f"{run.name}: needs data=imagenet and network=imagenet; of other runs the curves have "
            "the test error"
        )
    network = trained_network(run, dataset, device)
    place = Placement(device, memory_format(config.numerics))

    def errors() -> dict[str, dict[str, float]]:
        return {test: _errors(network, dataset, config, place, test) for test in TESTS}

    found = {"images": len(dataset.test), "classes": dataset.classes, "batches": BATCHES}
    running, images = errors(), _train_images(dataset, config, place)
    with multi_crop.true_averages(network, images, config.numerics.precision):
        return found | {"running": running, "true": errors()}


def _train_images(dataset: ImageFolder, config: RunConfig, place: Placement) -> Iterator[Tensor]:
    """The images of the first training batches."""
    with closing(loaders.train_loader(dataset, config, place)) as loader:
        for step in range(BATCHES):
            yield loader.get_batch(step)[0]


def _errors(
    network: Network, dataset: ImageFolder, config: RunConfig, place: Placement, test: str
) -> dict[str, float]:
    """The errors of one test over the whole test set."""
    side, shorter = config.data.crop_size, config.data.eval_resize
    assert side is not None and shorter is not None
    tested: nn.Module = network
    views = partial(multi_crop.ten_crops, side=side, shorter=shorter)
    if test == "scales":
        sides = [round(scale * side / SCALES[0]) for scale in SCALES]
        views = partial(multi_crop.scales, shorter_sides=sides)
        tested = multi_crop.FullyConvolutional(network, side)
    places = list(place.batches(len(dataset.test), IMAGES_AT_A_TIME[test]))
    read = partial(multi_crop.read_views, views=views)
    batches = decoded(FileImages(dataset.root, dataset.test, read), places, place)
    bar = tqdm(batches, total=len(places), desc=test, unit="batch", disable=None, leave=False)
    tested.eval()
    prepare, precision = partial(normalized, place=place), config.numerics.precision
    return multi_crop.errors(
        bar, lambda batch: multi_crop.probabilities(tested, batch, prepare, precision)
    )


def summary(result: dict[str, Any]) -> str:
    """Top-1 / top-5 error in percent, test by test."""
    return ", ".join(
        f"{test.replace('_', ' ')} ({averages} averages) {one['top1']:.2f} / {one['top5']:.2f} %"
        for averages in ("running", "true")
        for test, one in result[averages].items()
    )
