"""randomk: k elements drawn at random."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from byteps_gc.compressors.base import Examples, option
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse import Sparse
from byteps_gc.compressors.sparse_entries import Encoded, Entries, check_count
from byteps_gc.compressors.values import read_values, size_of, write_values
import numpy as np

INDEX_DOMAIN = 1


@register
@dataclass(frozen=True)
class RandomK(Sparse):
    """Values of k elements drawn uniformly, the same for all workers (Stich et al., arXiv 1809.07599).

    Every reader draws the indices again, so that they do not travel. Without error feedback the
    values are multiplied by d / k, which makes C(x) unbiased; with it C is a contraction by 1 - k / d.

    >>> RandomK(k=0.001, seed=7).options()
    {'k': 0.001, 'half': False, 'bfloat16': False, 'seed': 7}
    """

    name: ClassVar[str] = "randomk"
    codec: ClassVar[int] = 3
    examples: ClassVar[Examples] = ({"k": 0.001},)
    seed: int = option(int, "seed for drawing the elements", default=0, least=0, most=2**32 - 1)

    def advice(self, feedback: bool) -> str:
        if feedback or self.k >= 0.01:
            return ""
        return f"randomk with k={self.k} without error feedback has {1 / self.k:.0f} times the variance; use ef=vanilla"

    def max_payload(self, d: int) -> int:
        return self.count(d) * size_of(self.fixed_flags())

    def indices(self, d: int, draw: Draw) -> np.ndarray:
        """The ascending indices int64[k] of a step: R. Floyd's sampling without replacement (CACM 30(9), 1987)."""
        k = self.count(d)
        j = np.arange(d - k, d, dtype=np.uint64)
        pairs = draw.shared(self.seed, np.arange((k + 1) // 2), INDEX_DOMAIN).reshape(-1, 2)[:k].astype(np.uint64)
        low, high = pairs[:, 0], pairs[:, 1]
        size, shift = j + np.uint64(1), np.uint64(32)
        drawn = (high * size + (low * size >> shift)) >> shift  # floor(u * size / 2^64), u = high * 2^32 + low
        chosen = set()
        for candidate, last in zip(drawn.tolist(), j.tolist()):
            chosen.add(last if candidate in chosen else candidate)
        return np.array(sorted(chosen), np.int64)

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        values = p[self.indices(p.size, draw)]
        if not feedback:
            with np.errstate(over="ignore"):
                values = values * np.float32(p.size / values.size)
        written = write_values(values, self.fixed_flags())
        return written and Encoded(values.size, *written)

    def entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        return self._read(encoded, d, draw, self.fixed_flags())

    def encode_sum(self, total: Entries, d: int, draw: Draw, feedback: bool) -> Optional[Encoded]:
        written = write_values(total.values, 0)
        return written and Encoded(total.values.size, *written)

    def sum_entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        return self._read(encoded, d, draw, 0)

    def _read(self, encoded: Encoded, d: int, draw: Draw, form: int) -> Entries:
        check_count(encoded, self.count(d), self.count(d))
        values = read_values(encoded.payload, encoded.count, encoded.scale, form)
        return Entries(self.indices(d, draw), values)
