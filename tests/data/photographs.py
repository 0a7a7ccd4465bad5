"""A small folder of images like ImageNet's, made by Pillow: smooth noise, of many sizes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from degradation.config import schema
from tests.conftest import small

CLASSES = ("ants", "bees", "cats")


def image(number: int, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def make(root: Path) -> Path:
    """Four images of each class in train/ and two in val/, of 40 to 60 pixels a side."""
    number = 0
    for split, count in (("train", 4), ("val", 2)):
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                number += 1
                size = (40 + 7 * number % 21, 40 + 11 * number % 21)
                image(number, *size).save(folder / f"{name}_{i}.JPEG", quality=90)
    return root


def data(root: Path, **changes: Any) -> schema.Data:
    sizes: dict[str, Any] = {"crop_size": 32, "resize_range": (36, 60), "eval_resize": 36}
    options = {**sizes, "pca_lighting": True, **changes}
    return schema.Data("imagenet", 0, 0, True, str(root), False, **options)


def config(root: Path, **changes: Any) -> schema.RunConfig:
    """A run of a few iterations on it."""
    own = {f"data__{k}": v for k, v in asdict(data(root)).items()}
    own |= {"recipe__iterations": 6, "recipe__batch_size": 5, "recipe__eval_every": 2}
    own |= {"recipe__milestones": [4], "recipe__lr": 0.01}
    return small(**{**own, **changes})
