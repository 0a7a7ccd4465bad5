"""`data=imagenet`: a folder of photographs, `train/CLASS/*` and `val/CLASS/*`, read as needed.

Russakovsky et al. 2015 (ILSVRC 2012): 1,281,167 + 50,000 JPEGs in 1,000 classes; any folder of this
shape serves. A start looks at names and sizes alone, in seconds. An image that can't be decoded
ends the run that meets it, with its name; `degradation data verify` decodes all of them beforehand.
"""

from pathlib import Path

import numpy as np

from degradation.config.schema import Data
from degradation.data.dataset import DataError
from degradation.data.image_folder import manifest
from degradation.data.image_folder.manifest import ImageFolder

# The mean colour of ImageNet's training images and the principal components of their pixels, from 0
# to 1, as fb.resnet.torch publishes them (datasets/imagenet.lua).
MEAN = np.array([0.485, 0.456, 0.406])
EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]]
)
"""One a line."""
LIGHTING = 0.1 * EIGENVALUES[:, None] * EIGENVECTORS
"""What a normal number for each component adds to a colour (Krizhevsky et al. 2012, Sec. 4.1)."""


def load(data: Data) -> ImageFolder:
    """The set in `data.root`. Raises DataError: missing, unsorted or incomplete."""
    skip = Path(data.skip).expanduser() if data.skip else None
    return manifest.read(Path(data.root).expanduser(), skip)


def missing(data: Data) -> str:
    """Why the set can't be read, as far as names and sizes tell; else ""."""
    try:
        load(data)
    except DataError as error:
        return str(error)
    return ""
