"""identity: every element, as it is or as float16."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from byteps_gc.compressors.base import Examples, option
from byteps_gc.compressors.dense import Dense
from byteps_gc.compressors.frame import HALF
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse_entries import Encoded
from byteps_gc.compressors.values import read_values, write_values
import numpy as np


@register
@dataclass(frozen=True)
class Identity(Dense):
    """C(x) = x, or x rounded to float16 after a division by a power of two that puts max |x| below 2^15.

    Without ``half`` a partition always travels raw.

    >>> Identity(half=True).options()
    {'half': True}
    """

    name: ClassVar[str] = "identity"
    codec: ClassVar[int] = 5
    examples: ClassVar[Examples] = ({"half": True},)
    half: bool = option(bool, "send values as float16", default=False)

    def fixed_flags(self) -> int:
        return HALF if self.half else 0

    def max_payload(self, d: int) -> int:
        return (2 if self.half else 4) * d

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        written = write_values(p, self.half)
        return written and Encoded(p.size, *written)

    def values(self, encoded: Encoded, d: int) -> np.ndarray:
        return read_values(encoded.payload, d, encoded.scale, self.half)
