"""What topk and randomk share: how many elements of a partition travel, and as what."""

from dataclasses import dataclass
import math

from byteps_gc.compressors.base import option
from byteps_gc.compressors.narrow import Narrow, bfloat16_option, half_option
from byteps_gc.errors import CompressionError


@dataclass(frozen=True)
class Sparse(Narrow):
    """Keeps k elements of d: ``k`` below 1 is a fraction of d, from 1 up a count; at least 1, at most d."""

    k: float = option(float, "fraction (below 1) or number (1 or more) of elements to keep")
    half: bool = half_option()
    bfloat16: bool = bfloat16_option()

    def check(self) -> None:
        super().check()
        if not 0 < self.k < 2**32 or (self.k >= 1 and self.k != int(self.k)):
            raise CompressionError(
                f"{self.name}: k={self.k!r} is neither a fraction between 0 and 1 nor an integer of at least 1"
            )

    def count(self, d: int) -> int:
        """The number of entries of a partition of ``d`` elements."""
        count = math.floor(self.k * d + 0.5) if self.k < 1 else int(self.k)
        return min(max(count, 1), d)
