"""Values of entries as bytes: float32, bfloat16, or float16 with one power of two for all (docs/wire_format.md)."""

import math
from typing import Optional, Tuple

from byteps_gc.compressors.frame import BFLOAT16, HALF
from byteps_gc.compressors.refusals import FrameError, Refusal
import numpy as np

LARGEST_UNIT = 2.0**113  # of the largest float32
HALF_LIMIT = np.float32(4095 * 2.0**116)  # from here on, float16 rounds to 2^15, and 2^15 * LARGEST_UNIT is infinite
BFLOAT16_LIMIT = np.float32(511 * 2.0**119)  # from here on, bfloat16 rounds to infinity
LIMITS = {0: np.inf, HALF: HALF_LIMIT, BFLOAT16: BFLOAT16_LIMIT}


def unit_of(values: np.ndarray) -> int:
    """The exponent of the unit that puts the largest of |values| into [2^14, 2^15); at least -126."""
    largest = float(np.max(np.abs(values), initial=0))
    return max(math.frexp(largest)[1] - 15, -126) if largest else 0


def is_unit(scale: float) -> bool:
    """Whether a frame can have this scale for float16 values: a power of two that :func:`unit_of` gives."""
    return math.frexp(scale)[0] == 0.5 and 2.0**-126 <= scale <= LARGEST_UNIT


def size_of(flags: int) -> int:
    """The bytes of a value in a frame with these flags."""
    return 2 if flags & (HALF | BFLOAT16) else 4


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32[n], all numbers, as the bits of the nearest bfloat16, uint16[n]; of two the even one."""
    bits = values.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype("<u2")


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The values float32[n] of bits uint16[n]."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def write_values(values: np.ndarray, form: int) -> Optional[Tuple[bytes, float, int]]:
    """float32[n] as (payload, the frame's scale, the frame's flags); None if one is not finite, or would be read so.

    form: HALF, BFLOAT16, or 0 for float32.
    """
    if not (np.abs(values) < LIMITS[form]).all():
        return None
    if form == 0:
        return values.astype("<f4").tobytes(), 1.0, 0
    if form == BFLOAT16:
        return to_bfloat16(np.ascontiguousarray(values)).tobytes(), 1.0, BFLOAT16
    exponent = unit_of(values)
    scaled = values * np.float32(2.0**-exponent)
    return scaled.astype("<f2").tobytes(), 2.0**exponent, HALF


def read_values(data: bytes, count: int, scale: float, form: int) -> np.ndarray:
    """float32[count]; :class:`FrameError` for another length, or for values that are not finite."""
    if len(data) != size_of(form) * count:
        raise FrameError(Refusal.PAYLOAD, f"{len(data)} bytes of {count} values")
    if form == BFLOAT16:
        return finite(from_bfloat16(np.frombuffer(data, "<u2")))
    values = np.frombuffer(data, "<f2" if form else "<f4").astype(np.float32)
    if form == HALF:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * np.float32(scale)
    return finite(values)


def finite(values: np.ndarray) -> np.ndarray:
    """The values; :class:`FrameError` if one is not finite."""
    if not np.isfinite(values).all():
        raise FrameError(Refusal.VALUE)
    return values
