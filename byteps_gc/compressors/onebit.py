"""onebit: the sign of every element, and one scale for the partition."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import Compressor, option


@dataclass(frozen=True)
class Onebit(Compressor):
    """C(x) = s * sgn(x) with sgn(0) = +1 and s = ||x||_1 / d, or s = 1 without ``scaling``.

    32 times smaller than float32. It is biased: train with error feedback and
    Nesterov momentum (dist-EF-SGDM: Zheng et al., arXiv 1905.10936).

    >>> Onebit(scaling=True).options()
    {'scaling': True}
    """

    name: ClassVar[str] = "onebit"
    scaling: bool = option(bool, "scale the signs by the mean absolute value", default=False)
