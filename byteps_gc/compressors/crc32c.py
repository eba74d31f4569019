"""CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF."""

import struct
from typing import List


def _tables() -> List[List[int]]:
    """Table k maps a byte to its remainder after k more zero bytes (Intel's slicing-by-8)."""
    first = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        first.append(byte)
    tables = [first]
    for _ in range(7):
        tables.append([(value >> 8) ^ first[value & 255] for value in tables[-1]])
    return tables


_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7 = _tables()


def crc32c(data: bytes, crc: int = 0) -> int:
    """The CRC-32C of ``data``; ``crc`` is that of the bytes before it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc ^= 0xFFFFFFFF
    whole = len(data) & ~7
    for low, high in struct.iter_unpack("<II", data[:whole]):
        low ^= crc
        crc = (
            _T7[low & 255]
            ^ _T6[low >> 8 & 255]
            ^ _T5[low >> 16 & 255]
            ^ _T4[low >> 24]
            ^ _T3[high & 255]
            ^ _T2[high >> 8 & 255]
            ^ _T1[high >> 16 & 255]
            ^ _T0[high >> 24]
        )
    for byte in data[whole:]:
        crc = crc >> 8 ^ _T0[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF
