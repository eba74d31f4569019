"""Bit streams: Rice codes of gaps, Elias gamma codes of levels, numbers of a fixed width.

R. Rice, J. Plaunt: "Adaptive variable-length coding", 1971; P. Elias: "Universal codeword sets", 1975. Everything
has its least significant bit first, and a stream is filled up with zeros to a multiple of 4 bytes
(docs/wire_format.md, Rice codes). Readers raise :class:`FrameError` for whatever a writer cannot have written.
"""

from typing import Optional, Tuple

from byteps_gc.compressors.refusals import FrameError, Refusal
import numpy as np


def rice_parameter(d: int, count: int) -> int:
    """The number of low bits of a gap's code: floor(log2(ln 2 * the mean gap)), at least 0.

    >>> rice_parameter(1000000, 1000)
    9
    """
    t = (d - count) * 45426 // (count * 65536) if count else 0
    return max(t.bit_length() - 1, 0)


def pack_bits(bits: np.ndarray) -> bytes:
    """uint8[n] of zeros and ones as a stream."""
    data = np.packbits(bits, bitorder="little").tobytes()
    return data + bytes(-len(data) % 4)


def _put(bits: np.ndarray, at: np.ndarray, numbers: np.ndarray, widths: np.ndarray) -> None:
    """Write the low ``widths`` bits of each number from bit ``at`` on."""
    for i in range(int(widths.max(initial=0))):
        some = widths > i
        bits[at[some] + i] = numbers[some] >> i & 1


def write_codes(
    indices: np.ndarray, d: int, signs: Optional[np.ndarray] = None, levels: Optional[np.ndarray] = None
) -> Tuple[bytes, int]:
    """A stream of ascending indices int64[count] below d, and its length in bits before it is filled up.

    After a gap come its sign bool (True: negative) and its level (from 1, as a gamma code), where they are given.
    """
    b = rice_parameter(d, indices.size)
    gaps = np.diff(indices, prepend=-1) - 1
    zeros = gaps >> b
    signed = 0 if signs is None else 1
    logs = np.zeros(indices.size, np.int64) if levels is None else np.frexp(levels.astype(np.float64))[1] - 1
    lengths = zeros + 1 + b + signed + (0 if levels is None else 2 * logs + 1)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if indices.size else 0
    bits = np.zeros(total, np.uint8)
    at = ends - lengths + zeros
    bits[at] = 1
    _put(bits, at + 1, gaps, np.full(gaps.shape, b))
    if signs is not None:
        bits[at + 1 + b] = signs
    if levels is not None:
        at = at + 1 + b + signed + logs
        bits[at] = 1
        _put(bits, at + 1, levels, logs)
    return pack_bits(bits), total


class BitReader:
    """Reads a stream from its begin; every method raises :class:`FrameError` past the end."""

    def __init__(self, data: bytes):
        if len(data) % 4:
            raise FrameError(Refusal.PAYLOAD, f"a stream of {len(data)} bytes, not a multiple of 4")
        words = np.frombuffer(data, "<u4").astype(np.uint64)
        following = np.append(words[1:], np.uint64(0))
        self.windows = (words | following << np.uint64(32)).tolist()
        self.end = 32 * words.size
        self.at = 0

    def zeros(self) -> int:
        """The number of zeros before the next one, which is read too."""
        at = self.at
        while at < self.end:
            window = self.windows[at >> 5] >> (at & 31)
            if window:
                zeros = at - self.at + (window & -window).bit_length() - 1
                self.at += zeros + 1
                return zeros
            at = (at & ~31) + 64
        raise FrameError(Refusal.CODE)

    def number(self, width: int) -> int:
        """A number of ``width`` bits, at most 32."""
        at = self.at
        self.at += width
        if self.at > self.end:
            raise FrameError(Refusal.CODE)
        return self.windows[at >> 5] >> (at & 31) & (1 << width) - 1 if width else 0

    def finish(self) -> None:
        """:class:`FrameError` if more than the zeros that fill the last 4 bytes is left."""
        left = self.end - self.at
        if left >= 32 or self.number(left):
            raise FrameError(Refusal.PADDING)


def read_codes(data: bytes, d: int, count: int, most: int = 0) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read back (indices int64[count], signs bool[count], levels int64[count]).

    ``most`` is the highest level: 0 where the stream has neither signs nor levels, 1 where it has signs only.
    """
    reader = BitReader(data)
    b, index = rice_parameter(d, count), -1
    indices, signs, levels = [], [], []
    for _ in range(count):
        gap = reader.zeros() << b
        index += 1 + gap + reader.number(b)
        if index >= d:
            raise FrameError(Refusal.CODE)
        indices.append(index)
        if most:
            signs.append(reader.number(1))
        if most > 1:
            levels.append(_gamma(reader, most))
    reader.finish()
    levels = levels if most > 1 else [1] * count
    return np.array(indices, np.int64), np.array(signs, bool), np.array(levels, np.int64)


def _gamma(reader: BitReader, most: int) -> int:
    """An Elias gamma code of a number from 1 to ``most``."""
    log = reader.zeros()
    level = 1 << log | reader.number(log) if log < most.bit_length() else most + 1
    if level > most:
        raise FrameError(Refusal.CODE)
    return level


def write_numbers(numbers: np.ndarray, width: int) -> bytes:
    """int64[n] as a stream of numbers of ``width`` bits."""
    return pack_bits((numbers[:, None] >> np.arange(width) & 1).astype(np.uint8).reshape(-1))


def read_numbers(data: bytes, count: int, width: int) -> Tuple[np.ndarray, bool]:
    """Read back int64[count], and whether the bits after them are zero; :class:`FrameError` for another length."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits.size != (count * width + 31) // 32 * 32:
        raise FrameError(Refusal.PAYLOAD, f"{len(data)} bytes for {count} numbers of {width} bits")
    numbers = bits[: count * width].reshape(count, width).astype(np.int64) @ (1 << np.arange(width, dtype=np.int64))
    return numbers, not bits[count * width :].any()
