"""An image file → the square of bytes that a network sees: decoded, resized and cropped.

Only the part that the crop needs is resized. Pillow's filter looks beyond the box, so the result is
that of cropping the resized whole (of 255, at most 2 off by rounding). Images become RGB: grey,
CMYK (ImageNet has 22) and RGBA are converted, and a PNG under a JPEG's name (it has one) is read. A
palette, an animation and anything else is refused, since it is no photograph.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features
from PIL import __version__ as pillow

from degradation.data.order import below

Pixels = NDArray[np.uint8]
FORMATS = ("JPEG", "PNG")
MODES = ("RGB", "L", "LA", "CMYK", "RGBA")


class DecodeError(ValueError):
    """A file that is no image to train on; the message is its path and the reason."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in `path` with three colour channels, checked, and decoded where it is used. Raises
    DecodeError, also for what goes wrong there."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata; what damages pixels is an error.
            warnings.simplefilter("ignore")
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                if getattr(image, "is_animated", False):
                    raise ValueError("an animation")
                if image.mode not in MODES:
                    raise ValueError(f"neither colour nor grey (Pillow's mode {image.mode})")
                yield image if image.mode == "RGB" else image.convert("RGB")
    except UnidentifiedImageError as error:
        raise DecodeError(f"{path}: no JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DecodeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def resized_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height once the shorter of them is `side`, rounded down."""
    shorter = min(width, height)
    return side * width // shorter, side * height // shorter


def crop_resized(
    image: Image.Image, size: tuple[int, int], left: int, top: int, crop: int
) -> Pixels:
    """(crop, crop, 3): the square at (left, top) of the image resized to `size`."""
    across, down = image.width / size[0], image.height / size[1]
    # Rounding must not put the end of the box outside of the image.
    right = min((left + crop) * across, image.width)
    bottom = min((top + crop) * down, image.height)
    box = (left * across, top * down, right, bottom)
    return np.array(image.resize((crop, crop), Image.Resampling.BILINEAR, box=box))


def random_crop(
    path: Path, crop: int, resize_range: tuple[int, ...], drawn: tuple[int, int, int]
) -> Pixels:
    """A random crop of the image, its shorter side being a random one of `resize_range`.

    `drawn`: 64 random bits each for side, top and left. Raises DecodeError.
    """
    shortest, longest = resize_range
    side = shortest + below(longest - shortest + 1, drawn[0])
    with opened(path) as image:
        size = resized_size(*image.size, side)
        top, left = below(size[1] - crop + 1, drawn[1]), below(size[0] - crop + 1, drawn[2])
        return crop_resized(image, size, left, top, crop)


def center_crop(path: Path, crop: int, resize: int) -> Pixels:
    """The center of the image, its shorter side being `resize`. Raises DecodeError."""
    with opened(path) as image:
        size = resized_size(*image.size, resize)
        return crop_resized(image, size, (size[0] - crop) // 2, (size[1] - crop) // 2, crop)


def fault(path: Path) -> str:
    """What is wrong with an image, found by decoding all of it; "" where nothing is."""
    try:
        with opened(path) as image:
            image.load()
    except DecodeError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def versions() -> dict[str, str]:
    """What decides a decoded image's bits beside its file."""
    jpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return {"pillow": pillow, "jpeg": str(jpeg)}
