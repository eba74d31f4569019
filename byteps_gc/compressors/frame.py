"""The frame around a payload: 48 bytes that say what it is, and a checksum (docs/wire_format.md, Frame)."""

from dataclasses import dataclass
import math
import struct

from byteps_gc.compressors.crc32c import crc32c
from byteps_gc.errors import CompressionError

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
ALL_FLAGS = REPLY | NONFINITE | ERROR | SKIPPED | DENSE | HALF | RESET
TEXT = 200


class FrameError(CompressionError):
    """A frame that is refused; the text says why."""


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
            raise FrameError(f"the frame is too short: {len(data)} bytes, but its header has {SIZE}")
        magic, version, *fields, length, crc = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise FrameError(f"wrong magic {magic!r} instead of {MAGIC!r}")
        if version != VERSION:
            raise FrameError(f"wrong version {version} instead of {VERSION}")
        if len(data) != SIZE + length:
            kind = "short" if len(data) < SIZE + length else "long"
            raise FrameError(f"the frame is too {kind}: {len(data)} bytes instead of {SIZE + length}")
        if crc != crc32c(data[SIZE:], crc32c(data[: SIZE - 4])):
            raise FrameError(f"wrong CRC {crc:#010x}")
        frame = cls(*fields, data[SIZE:])
        frame.check()
        return frame

    def check(self) -> None:
        """What holds for every frame; :class:`FrameError` otherwise."""
        if self.flags & ~ALL_FLAGS:
            raise FrameError(f"unknown flags {self.flags:#x}")
        for name in ("eta", "scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise FrameError(f"{name}={value!r} is not a finite number of at least 0")
        if self.flags & NONFINITE and (self.flags & ERROR or self.count or self.scale or self.payload):
            raise FrameError("a NONFINITE frame must have count 0, scale 0 and no payload")
        if self.flags & ERROR and (not self.flags & REPLY or self.count or self.scale or len(self.payload) > TEXT):
            raise FrameError(f"an ERROR frame must be a reply of count 0, scale 0 and at most {TEXT} bytes of text")

    def expect(self, **fields: float) -> None:
        """:class:`FrameError` if one of the named fields has another value than this."""
        for name, value in fields.items():
            if getattr(self, name) != value:
                raise FrameError(f"wrong {name} {getattr(self, name)!r} instead of {value!r}")
