"""Random numbers that any worker or server can draw again: Philox4x32-10.

J. Salmon, M. Moraes, R. Dror, D. Shaw: "Parallel random numbers: as easy as 1, 2, 3",
SC 2011. A counter-based generator: four words are a function of a key and a counter.
"""

from dataclasses import dataclass
from typing import Tuple

from byteps_gc.compressors.crc32c import crc32c
import numpy as np

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def _halves(multiplier: np.uint64, word: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The high and the low 32 bits of a product of two 32-bit numbers, all in uint64."""
    product = multiplier * word
    return product >> SHIFT, product & LOW


def words(seed: int, stream: int, n: np.ndarray, step: int, worker: int, domain: int) -> np.ndarray:
    """Four words for each n: uint32[len(n), 4], of key (seed, stream) and counter (n, step, worker, domain).

    n: integers below 2^32 (any integer dtype); the others: one number below 2^32 each.
    """
    c0 = np.asarray(n).astype(np.uint64)
    c1, c2, c3 = (np.full(c0.shape, number, np.uint64) for number in (step, worker, domain))
    key0, key1 = seed, stream
    for _ in range(ROUNDS):
        high0, low0 = _halves(MULTIPLIERS[0], c0)
        high1, low1 = _halves(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ np.uint64(key0), low1, high0 ^ c3 ^ np.uint64(key1), low0
        key0, key1 = (key0 + KEY_STEPS[0]) & 0xFFFFFFFF, (key1 + KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def stream_number(name: str, index: int) -> int:
    """The stream of partition ``index`` of the tensor ``name``."""
    return (crc32c(name.encode()) + 0x9E3779B9 * index) & 0xFFFFFFFF


@dataclass(frozen=True)
class Draw:
    """Which random numbers one compression draws: the partition's stream, the step and the sending worker."""

    stream: int = 0
    step: int = 0
    worker: int = 0

    def shared(self, seed: int, n: np.ndarray, domain: int) -> np.ndarray:
        """Words that all workers draw alike (worker 0): uint32[len(n), 4]."""
        return words(seed, self.stream, n, self.step, 0, domain)

    def own(self, seed: int, n: np.ndarray, domain: int) -> np.ndarray:
        """Words of the sending worker alone: uint32[len(n), 4]."""
        return words(seed, self.stream, n, self.step, self.worker, domain)
