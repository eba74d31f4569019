"""What topk and randomk share: how many elements of a partition travel."""

from dataclasses import dataclass

from byteps_gc.compressors.base import Compressor, option
from byteps_gc.errors import CompressionError


@dataclass(frozen=True)
class Sparse(Compressor):
    """Keeps k elements of d: ``k`` below 1 is a fraction of d, from 1 up a count.

    The count is limited to 1 <= k <= d/2, because an entry takes the room of two
    elements. A smaller k sends less and loses more.
    """

    k: float = option(float, "fraction (below 1) or number (from 1) of elements that travel")

    def check(self) -> None:
        if not 0 < self.k < float("inf") or (self.k >= 1 and self.k != int(self.k)):
            raise CompressionError(
                f"{self.name}: k={self.k!r} is neither a fraction between 0 and 1 nor a whole number from 1"
            )
