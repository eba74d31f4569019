"""Batches of images for training and validation, prepared ahead by threads, the same ones for the same seed.

Gluon's DataLoader works next to BytePS as well (train_minimal.py), but two runs of it with one seed do not see the
same augmented images: each of its processes draws from a random generator of its own, which batch it gets is a matter
of timing, and so a resumed run would differ from one that was never interrupted (tests/test_images.py shows it).
"""

from typing import Callable, Iterator, Optional, Sequence, Tuple

from byteps_gc.data.images import Dataset, Images
from byteps_gc.data.prefetch import ahead
import numpy as np

PAD = 4  # pixels around an image that a random crop moves in

Batch = Tuple[np.ndarray, np.ndarray]


def normalized(images: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Images (n, h, w, 3) uint8 as (n, 3, h, w) float32 with the data set's mean and deviation taken out."""
    scaled = (images.astype(np.float32) / 255 - np.float32(dataset.mean)) / np.float32(dataset.std)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def augmented(images: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A random crop of each image padded with black, and a flip of every second one (on average)."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="constant")
    rows = rng.randint(0, 2 * PAD + 1, count)[:, None] + np.arange(height)
    columns = rng.randint(0, 2 * PAD + 1, count)[:, None] + np.arange(width)
    flipped = rng.rand(count) < 0.5
    columns[flipped] = columns[flipped, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


class InMemory:
    """Prepares batches (see :class:`Loader`) of a data set that is held in memory, with the CIFAR augmentation."""

    def __init__(self, data: Images, dataset: Dataset):
        self.images, self.labels = data
        self.dataset = dataset

    def __call__(self, chosen: Sequence[int], rng: Optional[np.random.RandomState]) -> Batch:
        images = self.images[chosen]
        return normalized(images if rng is None else augmented(images, rng), self.dataset), self.labels[chosen]


class Loader:
    """Iterates over (images (n, 3, h, w) float32, labels (n,) int32) in the order of ``indices``.

    prepare(chosen, rng): makes the batch of some samples; with a random generator,
        an augmented one. It is called by several threads at a time.
    indices: sample numbers, asked anew at every iteration; threads: batches that
        are prepared at a time (0: none ahead).

    With a :attr:`seed`, images are augmented, the same way for the same seed.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[int], Optional[np.random.RandomState]], Batch],
        indices: Sequence[int],
        batch_size: int,
        threads: int = 0,
    ):
        self.prepare = prepare
        self.indices = indices
        self.batch_size = batch_size
        self.threads = threads
        self.seed: Optional[int] = None

    def batch(self, numbered: Tuple[int, Sequence[int]]) -> Batch:
        """Prepare one batch: its number in this iteration, and the samples."""
        number, chosen = numbered
        rng = None if self.seed is None else np.random.RandomState((self.seed + 7919 * number) % 2**32)
        return self.prepare(chosen, rng)

    def __iter__(self) -> Iterator[Batch]:
        order = list(self.indices)
        parts = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
        return ahead(self.batch, enumerate(parts), self.threads)
