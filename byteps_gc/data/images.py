"""CIFAR100, Fashion-MNIST and synthetic images, all as 32x32 colour images in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

from byteps_gc.data import idx, pickles
from byteps_gc.data.labels import check_labels, check_size
from byteps_gc.errors import DatasetError
import numpy as np

SIDE = 32
RECORD = 2 + 3 * SIDE * SIDE  # coarse label, fine label, pixels
CIFAR_CLASSES, FASHION_CLASSES = 100, 10
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR100 = Path("~/.mxnet/datasets/cifar100")
CIFAR100_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"

Images = Tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """A labelled image set.

    read(folder, train, samples) returns images (n, 32, 32, 3) uint8 and labels (n,) int32: the first ``samples`` of
    them, or all there are.
    """

    classes: int
    mean: Tuple[float, float, float]
    std: Tuple[float, float, float]
    read: Callable[[Optional[Path], bool, Optional[int]], Images]


def read_cifar100(folder: Optional[Path], train: bool, samples: Optional[int]) -> Images:
    """CIFAR100 with its 100 fine labels, in any of its three distributions.

    folder: holds MXNet's ``train.bin`` and ``test.bin``, or ``cifar-100-binary/``
        or ``cifar-100-python/``, or is one of these two.
    """
    root = (folder or CIFAR100).expanduser()
    part = "train" if train else "test"
    for binary in (root / f"{part}.bin", root / "cifar-100-binary" / f"{part}.bin"):
        if binary.is_file():
            return read_cifar_records(binary, samples)
    for pickled in (root / part, root / "cifar-100-python" / part):
        if pickled.is_file():
            return read_cifar_pickle(pickled, samples)
    raise DatasetError(
        f"no CIFAR100 in {root}: expected {part}.bin, cifar-100-binary/ or cifar-100-python/;"
        f" unpack CIFAR-100 from {CIFAR100_ORIGIN} there, or pass its folder with --data-dir"
    )


def read_cifar_records(file: Path, samples: Optional[int]) -> Images:
    """The binary distribution: records of two label bytes and 3072 pixels, channel by channel."""
    try:
        check_size(file, file.stat().st_size)
        raw = np.fromfile(str(file), dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror}") from None
    if raw.size == 0 or raw.size % RECORD:
        raise DatasetError(f"{file} has {raw.size} bytes, which is not a whole number of {RECORD}-byte images")
    records = raw.reshape(-1, RECORD)
    labels = check_labels(file, records[:, 1], len(records), CIFAR_CLASSES)
    return cifar_images(records[:samples, 2:]), labels[:samples]


def read_cifar_pickle(file: Path, samples: Optional[int]) -> Images:
    """The Python distribution: a pickled dict with ``data`` (n, 3072) and ``fine_labels``."""
    content = pickles.read(file)
    pixels, labels = (pickles.numbers(file, content, name) for name in ("data", "fine_labels"))
    if pixels.ndim != 2 or pixels.shape[1] != RECORD - 2:
        raise DatasetError(f"{file} has pixels of shape {pixels.shape}; expected {RECORD - 2} for each image")
    labels = check_labels(file, labels, len(pixels), CIFAR_CLASSES)
    return cifar_images(check_pixels(file, pixels)[:samples]), labels[:samples]


def check_pixels(file: Path, pixels: np.ndarray) -> np.ndarray:
    """Return pixels (n, 3072) as uint8; :class:`DatasetError`, with the first image that has others."""
    for index, image in enumerate(pixels if pixels.dtype != np.uint8 else ()):
        wrong = (image < 0) | (image > 255) if pixels.dtype.kind in "iu" else np.ones(image.shape, bool)
        if wrong.any():
            raise DatasetError(
                f"{file} has pixel {image[wrong.argmax()]} of type {pixels.dtype} in image {index};"
                " expected integers from 0 to 255"
            )
    return pixels.astype(np.uint8)


def cifar_images(pixels: np.ndarray) -> np.ndarray:
    """CIFAR pixels (n, 3072), channel by channel, as images (n, 32, 32, 3)."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def read_fashion_mnist(folder: Optional[Path], train: bool, samples: Optional[int]) -> Images:
    """Fashion-MNIST (28x28, grey), padded with black to 32x32 and repeated in three channels."""
    root = (folder or FASHION_MNIST).expanduser()
    part = "train" if train else "t10k"
    grey = idx.read(root / f"{part}-images-idx3-ubyte.gz", 3)
    file = root / f"{part}-labels-idx1-ubyte.gz"
    labels = check_labels(file, idx.read(file, 1), len(grey), FASHION_CLASSES)
    if grey.shape[1:] != (28, 28):
        raise DatasetError(f"{root} has images of shape {grey.shape}; expected 28 x 28 pixels")
    padded = np.pad(grey[:samples], ((0, 0), (2, 2), (2, 2)), mode="constant")
    return np.repeat(padded[..., np.newaxis], 3, axis=3), labels[:samples]


def make_synthetic(folder: Optional[Path], train: bool, samples: Optional[int]) -> Images:
    """Ten classes of coloured stripes with noise: 10,000 images to learn, 2,000 to test, always the same."""
    rng = np.random.RandomState(1 if train else 2)
    labels = rng.randint(0, 10, 10000 if train else 2000).astype(np.int32)[:samples]
    waves = np.sin(np.arange(SIDE)[None, :] * (np.arange(10)[:, None] + 1) * np.pi / SIDE)
    pattern = np.broadcast_to(waves[:, :, None, None], (10, SIDE, SIDE, 3))
    images = 128 + 60 * pattern[labels] + rng.randint(-60, 60, (len(labels), SIDE, SIDE, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


DATASETS: Dict[str, Dataset] = {
    "cifar100": Dataset(CIFAR_CLASSES, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), read_cifar100),
    "fashion-mnist": Dataset(FASHION_CLASSES, (0.2190,) * 3, (0.3318,) * 3, read_fashion_mnist),
    "synthetic": Dataset(10, (0.5,) * 3, (0.25,) * 3, make_synthetic),
}


def load(name: str, folder: Optional[Path], train: bool, samples: Optional[int] = None) -> Images:
    """The first ``samples`` images of a data set's training or validation part, or all of them.

    Raises :class:`DatasetError` for an unknown name, for files that are missing
    or damaged, and for more samples than there are.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    positive = samples is None or samples > 0
    images, labels = DATASETS[name].read(folder, train, samples if positive else None)
    if samples is not None and not (positive and samples == len(images)):
        kind = "training" if train else "validation"
        raise DatasetError(f"cannot take {samples} {kind} images of {name}: it has {len(images)}")
    return images, labels
