"""Batches of encoded images, decoded, cropped and normalized for ImageNet's models.

For training: a random part of 8 to 100 % of the image, scaled to the wanted
size, mirrored or not, with random brightness, contrast, saturation and lighting
(arXiv 1409.4842; Krizhevsky et al., 2012). For validation: the middle of the
image. All that happens to colours is linear, so it is done in one pass.
"""

import math
from typing import Any, Optional, Sequence, Tuple

from byteps_gc.data.loader import Batch
from byteps_gc.errors import DatasetError, one_line
import cv2
import numpy as np

MEAN = np.float64([123.68, 116.779, 103.939])  # of ImageNet's red, green and blue
DEVIATION = np.float64([58.393, 57.12, 57.375])
GREY = np.float64([0.299, 0.587, 0.114])
# of the colours of ImageNet's pixels: the standard deviations along their principal axes, and these
PRINCIPAL = np.float64([55.46, 4.794, 1.148])
AXES = np.float64([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
JITTER = 0.4  # brightness, contrast and saturation change by up to this share
LIGHTING = 0.1
TRIES = 10  # draws of a part that fits into the image

NORMALIZING = np.hstack([np.diag(1 / DEVIATION), -(MEAN / DEVIATION)[:, np.newaxis]])


def decode(content: bytes, name: str) -> np.ndarray:
    """Return an image (h, w, 3) uint8, red first; :class:`DatasetError` if it is none, with ``name``."""
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error as error:  # a header that asks for too many pixels
        raise DatasetError(f"cannot decode {name}: {one_line(error)}") from None
    if image is None:
        raise DatasetError(f"cannot decode {name}: it is not a valid image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def random_part(height: int, width: int, rng: np.random.RandomState) -> Tuple[int, int, int, int]:
    """Top, left, height and width of a part with a random area and ratio of sides."""
    for _ in range(TRIES):
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(*map(math.log, RATIO)))
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return rng.randint(height - rows + 1), rng.randint(width - columns + 1), rows, columns
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def random_colours(mean: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A (3, 4) matrix that changes and normalizes the colours of an image with the given ``mean`` (3,)."""
    matrix, offset = np.eye(3), np.zeros(3)
    for change in rng.permutation(3):
        share = 1 + rng.uniform(-JITTER, JITTER)
        if change == 0:  # brightness
            matrix, offset = share * matrix, share * offset
        elif change == 1:  # contrast: towards the image's mean grey, or away from it
            offset = share * offset + (1 - share) * (GREY @ (matrix @ mean + offset))
            matrix = share * matrix
        else:  # saturation: towards each pixel's grey, or away from it
            mixing = share * np.eye(3) + (1 - share) * np.ones((3, 1)) * GREY
            matrix, offset = mixing @ matrix, mixing @ offset
    offset = offset + AXES @ (PRINCIPAL * rng.normal(0, LIGHTING, 3))
    return np.hstack([matrix / DEVIATION[:, np.newaxis], ((offset - MEAN) / DEVIATION)[:, np.newaxis]])


def training_view(image: np.ndarray, size: int, rng: np.random.RandomState) -> np.ndarray:
    """An image (h, w, 3) uint8 as (3, size, size) float32, augmented."""
    top, left, rows, columns = random_part(*image.shape[:2], rng)
    part = cv2.resize(image[top : top + rows, left : left + columns], (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.rand() < 0.5:
        part = part[:, ::-1]
    part = part.astype(np.float32)
    return cv2.transform(part, random_colours(part.mean(axis=(0, 1)), rng)).transpose(2, 0, 1)


def scaled_size(image: np.ndarray, side: int) -> Tuple[int, int]:
    """Return the width and height in pixels of an image (h, w, c) scaled to a shorter side of ``side``."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    return max(side, round(width * scale)), max(side, round(height * scale))


def shorter_side(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (h, w, c), scaled so that the shorter of its sides is ``side`` long."""
    shrinks = side < min(image.shape[:2])
    return cv2.resize(image, scaled_size(image, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def validation_view(image: np.ndarray, size: int, crop_ratio: float) -> np.ndarray:
    """The middle of an image (h, w, 3) uint8 as (3, size, size) float32; ``crop_ratio``: size / shorter side."""
    image = shorter_side(image, math.ceil(size / crop_ratio))
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    middle = np.ascontiguousarray(image[top : top + size, left : left + size], dtype=np.float32)
    return cv2.transform(middle, NORMALIZING).transpose(2, 0, 1)


class Views:
    """Prepares batches (see :class:`~byteps_gc.data.loader.Loader`) of an image set.

    images: with ``read(number)`` and ``name(number)``, such as
        :class:`~byteps_gc.data.records.Records`; size: height and width in
        pixels; crop_ratio: of validation, from above 0 to 1.
    """

    def __init__(self, images: Any, size: int, crop_ratio: float = 1.0):
        cv2.setNumThreads(0)  # the loader's threads are those that work
        self.images = images
        self.size = size
        self.crop_ratio = crop_ratio

    def __call__(self, chosen: Sequence[int], rng: Optional[np.random.RandomState]) -> Batch:
        batch = np.empty((len(chosen), 3, self.size, self.size), np.float32)
        labels = np.empty(len(chosen), np.int32)
        for place, number in enumerate(chosen):
            content, labels[place] = self.images.read(number)
            image = decode(content, self.images.name(number))
            if rng is None:
                batch[place] = validation_view(image, self.size, self.crop_ratio)
            else:
                batch[place] = training_view(image, self.size, rng)
        return batch, labels
