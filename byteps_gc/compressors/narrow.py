"""Compressors whose values may travel in 16 bits: two options that exclude each other."""

from typing import Any

from byteps_gc.compressors.base import Compressor, option
from byteps_gc.compressors.frame import BFLOAT16, HALF
from byteps_gc.errors import CompressionError


def half_option() -> Any:
    """Declare the option ``half``."""
    return option(bool, "send values as float16", default=False)


def bfloat16_option() -> Any:
    """Declare the option ``bfloat16``."""
    return option(bool, "send values as bfloat16", default=False, later=True)


class Narrow(Compressor):
    """Sends values as float32, float16 (its option ``half``) or bfloat16 (``bfloat16``)."""

    half: bool
    bfloat16: bool

    def check(self) -> None:
        if self.half and self.bfloat16:
            raise CompressionError(f"{self.name}: half and bfloat16 exclude each other; set one of them")

    def fixed_flags(self) -> int:
        return HALF if self.half else BFLOAT16 if self.bfloat16 else 0
