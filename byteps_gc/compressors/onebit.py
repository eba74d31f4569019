"""onebit: the sign of every element, and one scale for the partition."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import Examples, option
from byteps_gc.compressors.dense import Dense
from byteps_gc.compressors.ordered_sums import s1
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse_entries import Encoded
import numpy as np


@register
@dataclass(frozen=True)
class Onebit(Dense):
    """C(x) = s * sgn(x) with sgn(0) = +1 and s = ||x||_1 / d, or s = 1 without ``scaling``.

    32 times smaller than float32. It is biased: train with error feedback and
    Nesterov momentum (dist-EF-SGDM: Zheng et al., arXiv 1905.10936).

    >>> Onebit(scaling=True).options()
    {'scaling': True}
    """

    name: ClassVar[str] = "onebit"
    codec: ClassVar[int] = 1
    examples: ClassVar[Examples] = ({"scaling": True},)
    scaling: bool = option(bool, "scale the signs by the mean absolute value", default=False, flag="onebit-scaling")

    def advice(self, feedback: bool) -> str:
        return "" if feedback else "onebit without error feedback is biased and may not converge; use ef=vanilla"

    def has_scale(self, scale: float, flags: int, d: int, feedback: bool) -> bool:
        return self.scaling or scale == 1

    def max_payload(self, d: int) -> int:
        return (d + 7) // 8

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Encoded:
        scale = float(np.float32(s1(p) / p.size)) if self.scaling else 1.0
        return Encoded(p.size, np.packbits(p < 0, bitorder="little").tobytes(), scale)

    def values(self, encoded: Encoded, d: int) -> np.ndarray:
        bits = np.unpackbits(np.frombuffer(encoded.payload, np.uint8), bitorder="little")
        if bits[d:].any():
            raise FrameError(Refusal.PADDING)
        scale = np.float32(encoded.scale)
        return np.where(bits[:d] == 1, -scale, scale)
