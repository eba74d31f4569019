"""What onebit, identity and int8 share: every element travels."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.sparse_entries import Encoded, Entries, check_count
import numpy as np


@dataclass(frozen=True)
class Dense(Compressor):
    """A compressor whose payload has all elements, in :meth:`max_payload` bytes. The server encodes the sum likewise.

    A subclass has ``max_payload``, ``encode`` and :meth:`values`.
    """

    lossless_reply: ClassVar[bool] = False

    def values(self, encoded: Encoded, d: int) -> np.ndarray:
        """Return what was encoded, float32[d]; FrameError for a payload that cannot have been written.

        Its length is right.
        """
        raise NotImplementedError

    def entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        check_count(encoded, d, d)
        if len(encoded.payload) != self.max_payload(d):
            raise FrameError(Refusal.PAYLOAD, f"{len(encoded.payload)} bytes for {d} elements")
        return Entries.all(self.values(encoded, d))
