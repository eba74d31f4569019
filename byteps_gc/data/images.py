"""CIFAR100, Fashion-MNIST and synthetic images, all as 32x32 colour images in memory."""

from dataclasses import dataclass
import gzip
from pathlib import Path
import pickle
import struct
from typing import Callable, Dict, Optional, Tuple

from byteps_gc.errors import DatasetError
import numpy as np

SIDE = 32
RECORD = 2 + 3 * SIDE * SIDE  # coarse label, fine label, pixels
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CIFAR100 = Path("~/.mxnet/datasets/cifar100")
CIFAR100_ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"

Images = Tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """A labelled image set.

    read(folder, train) returns images (n, 32, 32, 3) uint8 and labels (n,) int32.
    """

    classes: int
    mean: Tuple[float, float, float]
    std: Tuple[float, float, float]
    read: Callable[[Optional[Path], bool], Images]


def read_cifar100(folder: Optional[Path], train: bool) -> Images:
    """CIFAR100 with its 100 fine labels, in any of its three distributions.

    folder: holds MXNet's ``train.bin`` and ``test.bin``, or ``cifar-100-binary/``
        or ``cifar-100-python/``, or is one of these two.
    """
    root = (folder or CIFAR100).expanduser()
    part = "train" if train else "test"
    for binary in (root / f"{part}.bin", root / "cifar-100-binary" / f"{part}.bin"):
        if binary.is_file():
            return read_cifar_records(binary)
    for pickled in (root / part, root / "cifar-100-python" / part):
        if pickled.is_file():
            return read_cifar_pickle(pickled)
    raise DatasetError(
        f"no CIFAR100 in {root}: expected {part}.bin, cifar-100-binary/ or cifar-100-python/;"
        f" unpack CIFAR-100 from {CIFAR100_ORIGIN} there, or pass its folder with --data-dir"
    )


def read_cifar_records(file: Path) -> Images:
    """The binary distribution: records of two label bytes and 3072 pixels, channel by channel."""
    raw = np.fromfile(str(file), dtype=np.uint8)
    if raw.size == 0 or raw.size % RECORD:
        raise DatasetError(f"{file} has {raw.size} bytes, which is not a whole number of {RECORD}-byte images")
    records = raw.reshape(-1, RECORD)
    return checked(file, records[:, 2:], records[:, 1])


class NumpyUnpickler(pickle.Unpickler):
    """Reads pickled arrays, lists and dicts, and refuses to import anything else."""

    ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str):
        """Import an allowed name; pickle.UnpicklingError for any other."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it imports {module}.{name}, which is not allowed in a data set")
        return super().find_class(module, name)


def read_cifar_pickle(file: Path) -> Images:
    """The Python distribution: a pickled dict with ``data`` (n, 3072) and ``fine_labels``."""
    try:
        with open(file, "rb") as stream:
            content = NumpyUnpickler(stream, encoding="bytes").load()
        data, labels = content[b"data"], content[b"fine_labels"]
        data = np.asarray(data, dtype=np.uint8).reshape(-1, 3 * SIDE * SIDE)
        return checked(file, data, np.asarray(labels))
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to ask for
        raise DatasetError(f"{file} is not a CIFAR100 pickle: {error}") from None


def checked(file: Path, pixels: np.ndarray, labels: np.ndarray) -> Images:
    """CIFAR pixels (n, 3072) as images, if there is a label below 100 for each."""
    if len(labels) != len(pixels) or len(pixels) == 0 or labels.max() >= 100:
        raise DatasetError(
            f"{file} has {len(pixels)} images and {len(labels)} labels; expected a label below 100 per image"
        )
    images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int32)


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """A gzipped IDX file of unsigned bytes."""
    try:
        with gzip.open(str(file)) as stream:
            content = stream.read()
    except FileNotFoundError:
        raise DatasetError(
            f"no {file.name} in {file.parent}: install Debian's package dataset-fashion-mnist,"
            " or pass its folder with --data-dir"
        ) from None
    except (OSError, EOFError) as error:
        raise DatasetError(f"cannot read {file}: {error}") from None
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise DatasetError(f"{file} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != int(np.prod(shape)):
        raise DatasetError(f"{file} holds {len(content) - header} bytes, but its header says {int(np.prod(shape))}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_fashion_mnist(folder: Optional[Path], train: bool) -> Images:
    """Fashion-MNIST (28x28, grey), padded with black to 32x32 and repeated in three channels."""
    root = (folder or FASHION_MNIST).expanduser()
    part = "train" if train else "t10k"
    grey = read_idx(root / f"{part}-images-idx3-ubyte.gz", 3)
    labels = read_idx(root / f"{part}-labels-idx1-ubyte.gz", 1)
    if len(grey) != len(labels) or grey.shape[1:] != (28, 28):
        raise DatasetError(
            f"{root} has {len(labels)} labels for images of shape {grey.shape}; expected one per 28x28 image"
        )
    padded = np.pad(grey, ((0, 0), (2, 2), (2, 2)), mode="constant")
    return np.repeat(padded[..., np.newaxis], 3, axis=3), labels.astype(np.int32)


def make_synthetic(folder: Optional[Path], train: bool) -> Images:
    """Ten classes of coloured stripes with noise: 10,000 images to learn, 2,000 to test, always the same."""
    rng = np.random.RandomState(1 if train else 2)
    labels = rng.randint(0, 10, 10000 if train else 2000).astype(np.int32)
    waves = np.sin(np.arange(SIDE)[None, :] * (np.arange(10)[:, None] + 1) * np.pi / SIDE)
    pattern = np.broadcast_to(waves[:, :, None, None], (10, SIDE, SIDE, 3))
    images = 128 + 60 * pattern[labels] + rng.randint(-60, 60, (len(labels), SIDE, SIDE, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


DATASETS: Dict[str, Dataset] = {
    "cifar100": Dataset(100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), read_cifar100),
    "fashion-mnist": Dataset(10, (0.2190,) * 3, (0.3318,) * 3, read_fashion_mnist),
    "synthetic": Dataset(10, (0.5,) * 3, (0.25,) * 3, make_synthetic),
}


def load(name: str, folder: Optional[Path], train: bool, samples: Optional[int] = None) -> Images:
    """The first ``samples`` images of a data set's training or validation part, or all of them.

    Raises :class:`DatasetError` for an unknown name, for files that are missing
    or damaged, and for more samples than there are.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(DATASETS)}")
    images, labels = DATASETS[name].read(folder, train)
    if samples is not None and not 0 < samples <= len(images):
        kind = "training" if train else "validation"
        raise DatasetError(f"cannot take {samples} {kind} images of {name}: it has {len(images)}")
    return images[:samples], labels[:samples]
