"""The frame around a payload: 48 bytes that say what it is, and a checksum (docs/wire_format.md, Frame)."""

from dataclasses import dataclass
import math
import struct

from byteps_gc.compressors.crc32c import crc32c
from byteps_gc.compressors.refusals import FrameError, Refusal

MAGIC = b"BGC"
VERSION = 1
SERVER = 0xFFFF
HEADER = struct.Struct("<3sBBBHIIIHHIIffII")
SIZE = HEADER.size
DTYPES = {"float32": 0, "float16": 2}

REPLY = 1
NONFINITE = 2
ERROR = 4
SKIPPED = 8
DENSE = 16
HALF = 32
RESET = 64
BFLOAT16 = 128
ALL_FLAGS = REPLY | NONFINITE | ERROR | SKIPPED | DENSE | HALF | RESET | BFLOAT16
TEXT = 200


@dataclass(frozen=True)
class Frame:
    """One frame. The fields are those of docs/wire_format.md, in its order; all are ints but the last three."""

    codec: int
    dtype: int
    flags: int
    d: int
    count: int
    step: int
    worker: int
    workers: int
    stream: int
    digest: int
    eta: float
    scale: float
    payload: bytes = b""

    def pack(self) -> bytes:
        """The frame's bytes."""
        header = HEADER.pack(
            MAGIC,
            VERSION,
            self.codec,
            self.dtype,
            self.flags,
            self.d,
            self.count,
            self.step,
            self.worker,
            self.workers,
            self.stream,
            self.digest,
            self.eta,
            self.scale,
            len(self.payload),
            0,
        )[:-4]
        return header + struct.pack("<I", crc32c(self.payload, crc32c(header))) + self.payload

    @classmethod
    def unpack(cls, data: bytes) -> "Frame":
        """Read a frame; :class:`FrameError` for what no frame may be, whatever its partition."""
        data = bytes(data)
        if len(data) < SIZE:
            raise FrameError(Refusal.SHORT, f"{len(data)} bytes")
        magic, version, *fields, length, crc = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise FrameError(Refusal.MAGIC)
        if version != VERSION:
            raise FrameError(Refusal.VERSION, f"{version}, but this process has {VERSION}")
        if len(data) != SIZE + length:
            raise FrameError(Refusal.LENGTH, f"{len(data)} bytes instead of {SIZE + length}")
        if crc != crc32c(data[SIZE:], crc32c(data[: SIZE - 4])):
            raise FrameError(Refusal.CHECKSUM)
        frame = cls(*fields, data[SIZE:])
        frame.check()
        return frame

    def check(self) -> None:
        """What holds for every frame; :class:`FrameError` otherwise."""
        if self.flags & ~ALL_FLAGS:
            raise FrameError(Refusal.UNKNOWN_FLAGS, f"{self.flags:#x}")
        for value, code in ((self.eta, Refusal.INVALID_ETA), (self.scale, Refusal.INVALID_SCALE)):
            if not math.isfinite(value) or math.copysign(1, value) < 0:
                raise FrameError(code, f"{value:g}")
        empty = not (self.count or self.scale)
        if self.flags & NONFINITE and not (empty and not self.payload):
            raise FrameError(Refusal.NONFINITE)
        if self.flags & ERROR and not (self.flags == REPLY | ERROR and empty and len(self.payload) <= TEXT):
            raise FrameError(Refusal.ERROR)

    def expect(self, code: Refusal, name: str, value: float) -> None:
        """:class:`FrameError` with this code if a field has another value than this."""
        if getattr(self, name) != value:
            raise FrameError(code, f"{getattr(self, name)} instead of {value}")
