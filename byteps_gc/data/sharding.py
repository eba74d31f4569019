"""Which samples a worker sees, so that all workers take the same number of steps."""

from typing import Iterator, Sequence

from byteps_gc.errors import DatasetError
import numpy as np


class ShardedSampler:
    """One worker's part of a permutation that all workers draw alike.

    length: samples of the whole data set. Every worker gets ``length //
    workers`` of them, cut to whole batches, so that none waits for a step that
    another does not take. The order depends on ``seed`` and :attr:`epoch` alone,
    which makes a resumed run see what the interrupted one would have seen.
    """

    def __init__(self, length: int, batch_size: int, rank: int, workers: int, seed: int = 0):
        self.batches = length // workers // batch_size
        if self.batches == 0:
            raise DatasetError(
                f"{length} training images are fewer than one batch of {batch_size} for each of {workers} workers"
            )
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.workers = workers
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = np.random.RandomState((self.seed * 1000003 + self.epoch) % 2**32).permutation(self.length)
        return iter(order[self.rank :: self.workers][: len(self)].tolist())

    def __len__(self) -> int:
        return self.batches * self.batch_size


def validation_part(length: int, rank: int, workers: int) -> Sequence[int]:
    """The samples that a worker validates: all workers' parts together are each sample once."""
    return range(rank, length, workers)
