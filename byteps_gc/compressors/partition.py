"""What a worker and a server both know of one partition, and the checks that follow from it."""

from dataclasses import dataclass
from typing import Dict, Optional

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.crc32c import crc32c
from byteps_gc.compressors.frame import (
    DTYPES,
    ERROR,
    NONFINITE,
    REPLY,
    RESET,
    SERVER,
    SIZE,
    SKIPPED,
    TEXT,
    Frame,
)
from byteps_gc.compressors.options import option_texts
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.sparse_entries import Encoded, Entries
from byteps_gc.errors import CompressionError
import numpy as np

ALIGN = {"float32": 128, "float16": 32}


def options_digest(texts: Dict[str, str]) -> int:
    """The CRC-32C of the options as ``key=value;``, sorted by the keys' bytes."""
    return crc32c("".join(f"{key}={texts[key]};" for key in sorted(texts, key=str.encode)).encode())


@dataclass(frozen=True)
class Partition:
    """One partition of ``d`` elements; ``registered`` is its size in bytes, rounded up to a multiple of ALIGN.

    :class:`CompressionError` if the numbers do not go together.
    """

    compressor: Compressor
    d: int
    dtype: str
    workers: int
    mu: Optional[float] = None
    ef: bool = False
    registered: Optional[int] = None

    def __post_init__(self) -> None:
        if self.dtype not in ALIGN:
            raise CompressionError(f"dtype={self.dtype!r} is not one of {', '.join(ALIGN)}")
        if not (0 < self.d < 2**32 and 0 < self.workers < SERVER):
            raise CompressionError(f"d={self.d} and workers={self.workers} are not integers of at least 1")
        align = ALIGN[self.dtype]
        size = -(-self.bytes // align) * align
        if self.registered is None:
            object.__setattr__(self, "registered", size)
        if self.registered != size:
            raise CompressionError(
                f"registered={self.registered} is not {size}, the size of {self.d} {self.dtype} elements"
            )
        digest = options_digest(option_texts(self.compressor, self.mu, self.ef))
        object.__setattr__(self, "digest", digest)
        most = self.compressor.max_payload(self.registered // np.dtype(self.dtype).itemsize)
        object.__setattr__(self, "raw", SIZE + most > self.registered - align)

    @property
    def bytes(self) -> int:
        """The partition's length in bytes, which a raw one has on the wire."""
        return self.d * np.dtype(self.dtype).itemsize

    def to_raw(self, values: np.ndarray) -> bytes:
        """float32[d] as plain elements."""
        with np.errstate(over="ignore"):
            return values.astype(np.dtype(self.dtype).newbyteorder("<")).tobytes()

    def from_raw(self, data: bytes) -> np.ndarray:
        """Plain elements in the gradient's dtype, [d]; :class:`FrameError` for another length."""
        if len(data) != self.bytes:
            raise FrameError(Refusal.RAW_LENGTH, f"{len(data)} bytes instead of {self.bytes}")
        return np.frombuffer(data, np.dtype(self.dtype).newbyteorder("<")).astype(self.dtype)

    def frame(self, encoded: Optional[Encoded], **fields: float) -> Frame:
        """A frame of this partition; ``fields``: flags, step, worker, stream, eta. No Encoded: NONFINITE."""
        encoded = encoded or Encoded(0, b"", 0.0, NONFINITE)
        fields["flags"] |= encoded.flags
        return Frame(
            codec=self.compressor.codec,
            dtype=DTYPES[self.dtype],
            d=self.d,
            count=encoded.count,
            workers=self.workers,
            digest=self.digest,
            scale=encoded.scale,
            payload=encoded.payload,
            **fields,
        )

    def error(self, reason: str, step: int) -> bytes:
        """An ERROR reply of a framed partition. Its text is cut so that the reply is shorter than the partition."""
        payload = reason.encode("ascii", "replace")[: min(TEXT, self.bytes - SIZE - 1)]
        encoded = Encoded(0, payload, 0.0, ERROR)
        return self.frame(encoded, flags=REPLY, step=step, worker=SERVER, stream=0, eta=0.0).pack()

    def allows(self, d: int) -> bool:
        """Whether a partition of the registered size can have ``d`` elements."""
        size = np.dtype(self.dtype).itemsize * d
        return size <= self.registered < size + ALIGN[self.dtype]

    def check(self, frame: Frame, reply: bool, elements: Optional[int]) -> None:
        """:class:`FrameError` for fields that no frame of this partition has.

        elements: the number of elements, or None for any that the registered size allows.
        """
        frame.expect(Refusal.CODEC, "codec", self.compressor.codec)
        frame.expect(Refusal.OPTIONS, "digest", self.digest)
        frame.expect(Refusal.DTYPE, "dtype", DTYPES[self.dtype])
        if frame.d != elements if elements else not self.allows(frame.d):
            raise FrameError(Refusal.ELEMENTS, f"{frame.d} elements")
        frame.expect(Refusal.WORKERS, "workers", self.workers)
        self._check_flags(frame, reply)

    def _check_flags(self, frame: Frame, reply: bool) -> None:
        """:class:`FrameError` for flags that a push, or a reply, of this partition does not have."""
        flags, optional = 0, 0
        if not (reply and self.compressor.lossless_reply):
            flags, optional = self.compressor.fixed_flags(), self.compressor.optional_flags
        if not reply:
            optional |= SKIPPED | RESET
        if frame.flags & NONFINITE:
            flags, optional = NONFINITE, optional & (SKIPPED | RESET)
        if frame.flags & ~optional != flags | (REPLY if reply else 0):
            raise FrameError(Refusal.FLAGS, f"{frame.flags:#x}")

    def entries(self, frame: Frame) -> Entries:
        """The entries of a push or a reply that is checked and not NONFINITE; :class:`FrameError` for its payload."""
        if not self.compressor.has_scale(frame.scale, frame.flags, frame.d, self.ef):
            raise FrameError(Refusal.SCALE, f"{frame.scale:g}")
        read = self.compressor.sum_entries if frame.flags & REPLY else self.compressor.entries
        return read(encoded_of(frame), frame.d, Draw(frame.stream, frame.step, frame.worker))


def encoded_of(frame: Frame) -> Encoded:
    """What the compressor reads of a frame."""
    return Encoded(frame.count, frame.payload, frame.scale, frame.flags)
