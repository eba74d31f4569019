"""identity: every element, as it is, as float16 or as bfloat16."""

from dataclasses import dataclass
from typing import ClassVar, Optional

from byteps_gc.compressors.base import Examples
from byteps_gc.compressors.dense import Dense
from byteps_gc.compressors.narrow import Narrow, bfloat16_option, half_option
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse_entries import Encoded
from byteps_gc.compressors.values import read_values, size_of, write_values
import numpy as np


@register
@dataclass(frozen=True)
class Identity(Narrow, Dense):
    """C(x) = x, rounded to bfloat16, or to float16 after a division by a power of two that puts max |x| below 2^15.

    Without ``half`` and ``bfloat16`` a partition always travels raw.

    >>> Identity(half=True).options()
    {'half': True, 'bfloat16': False}
    """

    name: ClassVar[str] = "identity"
    codec: ClassVar[int] = 5
    examples: ClassVar[Examples] = ({"half": True}, {"bfloat16": True})
    half: bool = half_option()
    bfloat16: bool = bfloat16_option()

    def max_payload(self, d: int) -> int:
        return size_of(self.fixed_flags()) * d

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        written = write_values(p, self.fixed_flags())
        return written and Encoded(p.size, *written)

    def values(self, encoded: Encoded, d: int) -> np.ndarray:
        return read_values(encoded.payload, d, encoded.scale, self.fixed_flags())
