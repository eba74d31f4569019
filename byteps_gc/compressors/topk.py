"""topk: the k elements of largest magnitude."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from byteps_gc.compressors.base import Examples
from byteps_gc.compressors.coding import rice_parameter
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse import Sparse
from byteps_gc.compressors.sparse_entries import Encoded, Entries, check_count, read_sparse, write_sparse
from byteps_gc.compressors.values import size_of
import numpy as np


@register
@dataclass(frozen=True)
class TopK(Sparse):
    """Indices and values of the k largest magnitudes (Stich et al., arXiv 1809.07599).

    Of elements of one magnitude those with the lower index go first. It is biased:
    train with error feedback.

    >>> TopK(k=0.001).options()
    {'k': 0.001, 'half': False, 'bfloat16': False}
    """

    name: ClassVar[str] = "topk"
    codec: ClassVar[int] = 2
    examples: ClassVar[Examples] = ({"k": 0.001}, {"k": 0.1})

    def advice(self, feedback: bool) -> str:
        if feedback or self.k >= 0.01:
            return ""
        return f"topk with k={self.k} without error feedback loses most of every gradient; use ef=vanilla"

    def max_payload(self, d: int) -> int:
        k = self.count(d)
        b = rice_parameter(d, k)
        return 4 * ((k * (1 + b) + ((d - k) >> b) + 31) // 32) + k * size_of(self.fixed_flags())

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        indices = largest(np.abs(p), self.count(p.size))
        return write_sparse(Entries(indices, p[indices]), p.size, self.fixed_flags())

    def entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        check_count(encoded, self.count(d), self.count(d))
        return read_sparse(encoded, d, self.fixed_flags())

    def sum_entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        check_count(encoded, self.count(d), d)
        return read_sparse(encoded, d, 0)


def largest(magnitudes: np.ndarray, k: int) -> np.ndarray:
    """The ascending indices int64[k] of the k largest; of equals, those with the lower index."""
    smallest = np.partition(magnitudes, magnitudes.size - k)[magnitudes.size - k]
    above = np.flatnonzero(magnitudes > smallest)
    equal = np.flatnonzero(magnitudes == smallest)[: k - above.size]
    return np.sort(np.concatenate([above, equal]))
