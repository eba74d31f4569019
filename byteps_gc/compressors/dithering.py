"""dithering: stochastic quantisation to few levels, entropy coded."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import Compressor, option
from byteps_gc.errors import CompressionError


@dataclass(frozen=True)
class Dithering(Compressor):
    """Unbiased rounding of x / ||x|| to levels (Alistarh et al., arXiv 1610.02132).

    ``partition`` "linear" has k levels at equal distances, "natural" k levels at
    powers of two (Horvath et al., arXiv 1905.10988); ``normalize`` chooses the
    norm. The limit of k keeps the longest code of an element below the 32 bits
    that it takes uncompressed.

    >>> Dithering(k=2, normalize="l2").options()
    {'k': 2, 'partition': 'linear', 'normalize': 'l2', 'seed': 0}
    """

    name: ClassVar[str] = "dithering"
    k: int = option(int, "number of levels", least=1, most=2**20)
    partition: str = option(str, "distances of the levels", default="linear", choices=("linear", "natural"))
    normalize: str = option(str, "norm that scales the levels", default="max", choices=("max", "l2"))
    seed: int = option(int, "seed of the rounding; 0: a new one every time", default=0, least=0, most=2**32 - 1)

    def check(self) -> None:
        if self.partition == "natural" and self.k > 20:
            raise CompressionError(f"dithering: k={self.k} is more than the 20 levels that natural partition takes")
