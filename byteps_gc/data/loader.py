"""Batches of images for training and validation, prepared ahead by threads.

MXNet's own DataLoader prepares them in forked processes or with blocks that are
not safe in threads. Neither can stand beside BytePS's threads, so the CIFAR
augmentation is a few lines of NumPy here.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
import itertools
from typing import Iterator, Sequence, Tuple

from byteps_gc.data.images import Dataset, Images
import numpy as np

PAD = 4  # pixels around an image that a random crop moves in


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


class Loader:
    """Iterates over (images (n, 3, 32, 32) float32, labels (n,) int32) in the order of ``indices``.

    indices: sample numbers, asked anew at every iteration; seed: with one, images
        are augmented, the same way for the same seed; threads: batches that are
        prepared at a time (0: none ahead).
    """

    def __init__(self, data: Images, dataset: Dataset, indices: Sequence[int], batch_size: int, threads: int = 0):
        self.images, self.labels = data
        self.dataset = dataset
        self.indices = indices
        self.batch_size = batch_size
        self.threads = threads
        self.seed = None

    def batch(self, chosen: Sequence[int], number: int) -> Tuple[np.ndarray, np.ndarray]:
        """Prepare one batch."""
        images = self.images[chosen]
        if self.seed is not None:
            images = augmented(images, np.random.RandomState((self.seed + 7919 * number) % 2**32))
        return normalized(images, self.dataset), self.labels[chosen]

    def __iter__(self) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        order = list(self.indices)
        parts = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
        if not self.threads:
            yield from (self.batch(part, number) for number, part in enumerate(parts))
            return
        todo = iter(enumerate(parts))
        with ThreadPoolExecutor(self.threads) as pool:
            ahead = deque(
                pool.submit(self.batch, part, number) for number, part in itertools.islice(todo, 2 * self.threads)
            )
            while ahead:
                ready = ahead.popleft().result()
                ahead.extend(pool.submit(self.batch, part, number) for number, part in itertools.islice(todo, 1))
                yield ready
