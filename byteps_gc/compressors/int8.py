"""int8: linear quantization to 8 bits, with one scale for each bucket of elements."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import Examples, option
from byteps_gc.compressors.dense import Dense
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse_entries import Encoded
import numpy as np

LEVELS = np.float32(127)
DOMAIN = 4


@register
@dataclass(frozen=True)
class Int8(Dense):
    """One of 255 levels at equal distances, from -m to m, m being max |x| of a bucket.

    ``rounding`` "nearest" loses least, "stochastic" is unbiased (QSGD: Alistarh et al., arXiv 1610.02132).

    >>> Int8().options()
    {'bucket': 512, 'rounding': 'nearest', 'seed': 0}
    """

    name: ClassVar[str] = "int8"
    codec: ClassVar[int] = 6
    examples: ClassVar[Examples] = ({"bucket": 512, "rounding": "nearest"}, {"bucket": 512, "rounding": "stochastic"})
    bucket: int = option(int, "number of elements that share a scale, 64 to 8192", default=512, least=64, most=8192)
    rounding: str = option(str, "how to round to a level", default="nearest", choices=("nearest", "stochastic"))
    seed: int = option(int, "seed for the rounding", default=0, least=0, most=2**32 - 1)

    def max_payload(self, d: int) -> int:
        return 4 * -(-d // self.bucket) + d

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Encoded:
        scales = np.maximum.reduceat(np.abs(p), range(0, p.size, self.bucket))
        spread = np.repeat(scales, self.bucket)[: p.size]
        y = np.divide(np.abs(p), spread, out=np.zeros_like(p), where=spread != 0) * LEVELS
        levels = np.rint(y) if self.rounding == "nearest" else np.floor(y) + self._up(y - np.floor(y), draw)
        codes = np.where(p < 0, -levels, levels).astype(np.int8)
        return Encoded(p.size, scales.astype("<f4").tobytes() + codes.tobytes())

    def _up(self, fraction: np.ndarray, draw: Draw) -> np.ndarray:
        """Whether each element is rounded up: bool[d], True as often as its fraction says."""
        words = draw.own(self.seed, np.arange((fraction.size + 3) // 4), DOMAIN).reshape(-1)[: fraction.size]
        return words >> 8 < (fraction * np.float32(2**24)).astype(np.int64)

    def values(self, encoded: Encoded, d: int) -> np.ndarray:
        buckets = -(-d // self.bucket)
        scales = np.frombuffer(encoded.payload, "<f4", buckets).astype(np.float32)
        codes = np.frombuffer(encoded.payload, np.int8, d, 4 * buckets)
        if not np.isfinite(scales).all() or np.signbit(scales).any():
            raise FrameError(Refusal.NORM)
        if (codes == -128).any():
            raise FrameError(Refusal.CODE)
        return codes.astype(np.float32) / LEVELS * np.repeat(scales, self.bucket)[:d]
