"""A image's file -> the square of bytes that a network sees: opened, resized, cropped.

Only the part that the crop needs is resized: Pillow's filter looks beyond the box, so that gives
what cropping the resized whole would (of 255, at most 2 off by rounding). Images are RGB here:
grey, CMYK (ImageNet has 22) and RGBA are converted, a PNG under a JPEG's name (it has one) is read;
a palette, an animation and anything else is no photograph, and refused.
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

Bytes = NDArray[np.uint8]
FORMATS = ("JPEG", "PNG")
CONVERTED = ("L", "LA", "CMYK", "RGBA")
MOST_PIXELS = 150_000_000  # ImageNet's largest has 60 million; a bomb would fill the memory


class Unreadable(ValueError):
    """A file that is no image to train on; the message is the reason alone."""


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in `path`, checked and not yet decoded. Raises Unreadable, in decoding too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata; what damages pixels is an error
            with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
                _check(image)
                yield image
    except UnidentifiedImageError as error:
        raise Unreadable(f"no JPEG or PNG ({_begins(path)})") from error
    except Image.DecompressionBombError as error:
        raise Unreadable(f"more than {MOST_PIXELS:,} pixels") from error
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except (SyntaxError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"damaged: {error}") from error


def _check(image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise Unreadable("an animation")
    if image.mode not in ("RGB", *CONVERTED):
        kind = "a palette" if image.mode == "P" else f"mode {image.mode}"
        raise Unreadable(f"{kind}, neither colours nor grey")
    if image.width * image.height > MOST_PIXELS:
        raise Unreadable(f"{image.width} × {image.height} pixels, more than {MOST_PIXELS:,}")


def _begins(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        return str(error.strerror)
    known = {b"GIF8": "a GIF", b"<": "a web page", b"RIFF": "a WebP", b"BM": "a BMP"}
    return next((kind for sign, kind in known.items() if head.startswith(sign)), f"{head!r}")


def rgb(image: Image.Image) -> Image.Image:
    """Decoded, in three colours."""
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height once the shorter of them is `side`; whole numbers, rounded down."""
    if width <= height:
        return side, side * height // width
    return side * width // height, side


def cut(image: Image.Image, size: tuple[int, int], corner: tuple[int, int], crop: int) -> Bytes:
    """(crop, crop, 3): the square at `corner` (left, top) of the image resized to `size`."""
    across, down = image.width / size[0], image.height / size[1]
    left, top = corner
    box = (left * across, top * down, (left + crop) * across, (top + crop) * down)
    part = image.resize((crop, crop), Image.Resampling.BILINEAR, box=_inside(box, image))
    return np.asarray(part)


def _inside(
    box: tuple[float, float, float, float], image: Image.Image
) -> tuple[float, float, float, float]:
    """Without the rounding error that would put its end outside."""
    return box[0], box[1], min(box[2], image.width), min(box[3], image.height)


def training_view(
    path: Path, crop: int, scale: tuple[int, ...], draft: bool, drawn: tuple[int, int, int]
) -> Bytes:
    """A random crop at a random scale; `drawn`: 64 random bits each for side, top and left.

    Raises Unreadable.
    """
    side = scale[0] + below(scale[1] - scale[0] + 1, drawn[0])
    with opened(path) as image:
        size = resized(*image.size, side)
        if draft:  # only now: the crop is of the same scene, drafted or not
            image.draft("RGB", size)
        corner = (below(size[0] - crop + 1, drawn[2]), below(size[1] - crop + 1, drawn[1]))
        return cut(rgb(image), size, corner, crop)


def centre_view(path: Path, crop: int, resize: int) -> Bytes:
    """The centre of the image, its shorter side being `resize`. Raises Unreadable."""
    with opened(path) as image:
        size = resized(*image.size, resize)
        corner = ((size[0] - crop) // 2, (size[1] - crop) // 2)
        return cut(rgb(image), size, corner, crop)


def check(path: Path) -> str:
    """What is wrong with a image, found by decoding all of it; "" where nothing is."""
    try:
        with opened(path) as image:
            rgb(image).load()
    except Unreadable as error:
        return str(error)
    return ""


def versions() -> dict[str, str]:
    """What decides a decoded image's bits beside its file."""
    jpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return {"pillow": pillow, "jpeg": str(jpeg)}
