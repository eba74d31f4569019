"""Values of entries as bytes: float32, or float16 with one power of two for all (docs/wire_format.md)."""

import math
from typing import Optional, Tuple

from byteps_gc.compressors.frame import HALF
from byteps_gc.compressors.refusals import FrameError, Refusal
import numpy as np

LARGEST_UNIT = 2.0**113  # of the largest float32
HALF_LIMIT = np.float32(4095 * 2.0**116)  # from here on, float16 rounds to 2^15, and 2^15 * LARGEST_UNIT is infinite


def unit_of(values: np.ndarray) -> int:
    """The exponent of the unit that puts the largest of |values| into [2^14, 2^15); at least -126."""
    largest = float(np.max(np.abs(values), initial=0))
    return max(math.frexp(largest)[1] - 15, -126) if largest else 0


def is_unit(scale: float) -> bool:
    """Whether a frame can have this scale for float16 values: a power of two that :func:`unit_of` gives."""
    return math.frexp(scale)[0] == 0.5 and 2.0**-126 <= scale <= LARGEST_UNIT


def write_values(values: np.ndarray, half: bool) -> Optional[Tuple[bytes, float, int]]:
    """float32[n] as (payload, the frame's scale, the frame's flags); None if one is not finite, or would be read so."""
    if not (np.abs(values) < (HALF_LIMIT if half else np.inf)).all():
        return None
    if not half:
        return values.astype("<f4").tobytes(), 1.0, 0
    exponent = unit_of(values)
    scaled = values * np.float32(2.0**-exponent)
    return scaled.astype("<f2").tobytes(), 2.0**exponent, HALF


def read_values(data: bytes, count: int, scale: float, half: bool) -> np.ndarray:
    """float32[count]; :class:`FrameError` for another length, or for values that are not finite."""
    size = 2 if half else 4
    if len(data) != size * count:
        raise FrameError(Refusal.PAYLOAD, f"{len(data)} bytes of {count} values")
    values = np.frombuffer(data, "<f2" if half else "<f4").astype(np.float32)
    if half:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * np.float32(scale)
    return finite(values)


def finite(values: np.ndarray) -> np.ndarray:
    """The values; :class:`FrameError` if one is not finite."""
    if not np.isfinite(values).all():
        raise FrameError(Refusal.VALUE)
    return values
