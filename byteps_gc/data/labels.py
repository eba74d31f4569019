"""Limits and label checks that all image sets have in common."""

from pathlib import Path
from typing import Union

from byteps_gc.data.names import shown
from byteps_gc.errors import DatasetError
import numpy as np

MEMORY = 1 << 29  # bytes of a file that is read as a whole
CLASSES = 1 << 24  # float32, in which a .rec file holds labels, is exact up to here


def check_size(file: Path, size: int) -> None:
    """Raise :class:`DatasetError` for a file of more than :data:`MEMORY` bytes."""
    if size > MEMORY:
        raise DatasetError(f"{shown(file)} has {size} bytes; at most {MEMORY} are read into memory")


def check_label(place: str, label: Union[int, float], classes: int) -> int:
    """Return a label as an integer; :class:`DatasetError`, with ``place``, unless it is one from 0 to classes - 1."""
    if not (0 <= label < classes and label == int(label)):
        raise DatasetError(f"{place} has label {label:g}; expected an integer below {classes}")
    return int(label)


def check_labels(file: Path, labels: np.ndarray, images: int, classes: int) -> np.ndarray:
    """Return labels as (n,) int32.

    Raises :class:`DatasetError`, with the first offending index, unless there is
    one for each image, an integer from 0 to classes - 1.
    """
    if labels.shape != (images,) or not images:
        raise DatasetError(f"{shown(file)} has {images} images and labels of shape {labels.shape}; expected one each")
    wrong = np.ones(images, bool) if labels.dtype.kind not in "iu" else (labels < 0) | (labels >= classes)
    if wrong.any():
        index = int(wrong.argmax())
        raise DatasetError(
            f"{shown(file)} has label {labels[index]} of type {labels.dtype} at index {index};"
            f" expected integers from 0 to {classes - 1}"
        )
    return labels.astype(np.int32)
