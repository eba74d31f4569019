"""Values of entries as bytes: float32, or float16 with one power of two for all (docs/wire_format.md)."""

import math
from typing import Tuple

from byteps_gc.compressors.frame import HALF, FrameError
import numpy as np


def unit_of(values: np.ndarray) -> int:
    """The exponent of the unit that puts the largest of |values| into [2^14, 2^15); at least -126."""
    largest = float(np.max(np.abs(values), initial=0))
    return max(math.frexp(largest)[1] - 15, -126) if largest else 0


def write_values(values: np.ndarray, half: bool) -> Tuple[bytes, float, int]:
    """float32[n], all finite, as (payload, the frame's scale, the frame's flags)."""
    if not half:
        return values.astype("<f4").tobytes(), 1.0, 0
    exponent = unit_of(values)
    scaled = values * np.float32(2.0**-exponent)
    return scaled.astype("<f2").tobytes(), 2.0**exponent, HALF


def read_values(data: bytes, count: int, scale: float, half: bool) -> np.ndarray:
    """float32[count]; :class:`FrameError` for another length, or for values that are not finite."""
    size = 2 if half else 4
    if len(data) != size * count:
        raise FrameError(f"wrong payload length for count {count}: {len(data)} bytes of values")
    values = np.frombuffer(data, "<f2" if half else "<f4").astype(np.float32)
    if half:
        with np.errstate(over="ignore", invalid="ignore"):
            values = values * np.float32(scale)
    return finite(values)


def finite(values: np.ndarray) -> np.ndarray:
    """The values; :class:`FrameError` if one is not finite."""
    if not np.isfinite(values).all():
        raise FrameError("a value is not finite")
    return values
