"""Finished ImageNet runs tested as the paper's tables do: ten crops, and whole images at scales.

The curves' errors are those of one center crop (Figure 4); Tables 2 and 3 have ten, Table 4 five
scales. Each is measured with the running averages of batch normalization, as the curves are, and
with true ones over some training batches, as the authors took them.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data import loaders, sources
from degradation.data.device_loader import channels_first, memory_format
from degradation.data.image_folder.imagenet import MEAN, ImageFolder
from degradation.data.image_folder.loader import MAX_VALUE, decoded, num_workers
from degradation.evaluation import multi_crop
from degradation.evaluation.multi_crop import ImageViews
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

    def errors() -> dict[str, dict[str, float]]:
        return {test: _errors(network, dataset, config, device, test) for test in TESTS}

    found = {"images": len(dataset.test), "classes": dataset.classes, "batches": BATCHES}
    running, images = errors(), _train_images(dataset, config, device)
    with multi_crop.true_averages(network, images, config.numerics.precision):
        return found | {"running": running, "true": errors()}


def _train_images(
    dataset: ImageFolder, config: RunConfig, device: torch.device
) -> Iterator[Tensor]:
    """The images of the first training batches."""
    loader = loaders.train_loader(dataset, config, device, "auto")
    for step in range(BATCHES):
        yield loader.get_batch(step)[0]
    loader.close()


def _errors(
    network: Network,
    dataset: ImageFolder,
    config: RunConfig,
    device: torch.device,
    test: str,
) -> dict[str, float]:
    """The errors of one test over the whole test set."""
    side, shorter = config.data.crop_size, config.data.eval_resize
    assert side is not None and shorter is not None
    mean = torch.from_numpy(MEAN).float().to(device)
    layout = memory_format(config.numerics)

    def prepare(pixels: Tensor) -> Tensor:
        x = pixels.to(device, non_blocking=True).float().div_(MAX_VALUE).sub_(mean)
        return channels_first(x, layout)

    tested: nn.Module = network
    views = partial(multi_crop.ten_crops, side=side, shorter=shorter)
    if test == "scales":
        sides = [round(scale * side / SCALES[0]) for scale in SCALES]
        views = partial(multi_crop.scales, shorter_sides=sides)
        tested = multi_crop.FullyConvolutional(network, side)
    count, size = len(dataset.test), IMAGES_AT_A_TIME[test]
    places = [range(i, min(i + size, count)) for i in range(0, count, size)]
    images = ImageViews(dataset, views)
    batches = decoded(images, places, num_workers("auto", device), device)
    bar = tqdm(batches, total=len(places), desc=test, unit="batch", disable=None, leave=False)
    tested.eval()
    precision = config.numerics.precision
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
