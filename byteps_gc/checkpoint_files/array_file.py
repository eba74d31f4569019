"""The structure of a file of ``mx.nd.save``, such as the parameters of a Gluon block, checked before MXNet reads it.

MXNet believes the numbers in such a file: a damaged one may take all memory, or never end. A file is a magic number
and a reserved word, the number of arrays and the arrays, the number of names and the names. An array is, after its own
magic number, a kind of storage, a shape, a device, a type and the values; a sparse one has more shapes. Two older forms
have no kind of storage, and the oldest begins with the number of dimensions.
"""

import math
import os
import struct
from typing import BinaryIO, List

LIST = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA  # V3: of NumPy's arrays, which may have no dimension
SIZES = (4, 8, 2, 1, 4, 1, 8, 1, 2, 2, 4, 8, 2)  # of the types, bytes
DEVICES = (1, 2, 3, 5)
AUXILIARY = {0: 0, 1: 1, 2: 2}  # arrays of indices of dense, row-sparse and CSR arrays
DIMENSIONS = 32  # at most
NAME = 1 << 16  # bytes, at most


class Fault(Exception):
    """What is wrong with a file."""


class Reader:
    """Reads the numbers of a file, and passes over the values."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.left = stream.seek(0, os.SEEK_END)
        stream.seek(0)

    def numbers(self, kind: str, count: int = 1) -> List[int]:
        """Read numbers of a kind of :mod:`struct`."""
        layout = struct.Struct(f"<{count}{kind}")
        self._take(layout.size)
        return list(layout.unpack(self._stream.read(layout.size)))

    def skip(self, size: int) -> None:
        """Skip bytes."""
        self._take(size)
        self._stream.seek(size, os.SEEK_CUR)

    def _take(self, size: int) -> None:
        if size > self.left:
            raise Fault(f"it ends {size - self.left} bytes too early")
        self.left -= size


def shape_of(reader: Reader, dimension: str = "q") -> List[int]:
    """Read a shape: the number of dimensions, and each of them."""
    (count,) = reader.numbers("i")
    if not 0 <= count <= DIMENSIONS:
        raise Fault(f"an array has {count} dimensions")
    shape = reader.numbers(dimension, count)
    if any(size < 0 for size in shape):
        raise Fault(f"an array has the shape {tuple(shape)}")
    return shape


def pass_array(reader: Reader) -> None:
    """Pass over an array."""
    (magic,) = reader.numbers("I")
    auxiliary, stored = 0, []
    if magic in (V2, V3):
        (storage,) = reader.numbers("i")
        if storage not in AUXILIARY:
            raise Fault(f"an array has storage of kind {storage}")
        auxiliary = AUXILIARY[storage]
        stored = [shape_of(reader)] if auxiliary else []
    if magic in (V1, V2, V3):
        shape = shape_of(reader)
    elif magic <= DIMENSIONS:
        shape = reader.numbers("I", magic)
    else:
        raise Fault("an array has no magic number")
    if not shape and magic != V3:
        return
    device, _ = reader.numbers("i", 2)
    if device not in DEVICES:
        raise Fault(f"an array is of device {device}")
    stored, types = stored or [shape], reader.numbers("i")
    for _ in range(auxiliary):
        types += reader.numbers("i")
        stored.append(shape_of(reader))
    for kind, sizes in zip(types, stored):
        if not 0 <= kind < len(SIZES):
            raise Fault(f"an array has type {kind}")
        reader.skip(SIZES[kind] * math.prod(sizes))


def pass_list(reader: Reader) -> None:
    """Pass over a whole file; :class:`Fault` unless that is its end."""
    magic, _, arrays = reader.numbers("Q", 3)
    if magic != LIST:
        raise Fault("it does not begin with their magic number")
    for _ in range(arrays):
        pass_array(reader)
    (names,) = reader.numbers("Q")
    if names not in (0, arrays):
        raise Fault(f"it has {arrays} arrays and {names} names")
    for _ in range(names):
        (length,) = reader.numbers("Q")
        if length > NAME:
            raise Fault(f"a name has {length} bytes")
        try:
            bytes(reader.numbers("B", length)).decode()
        except UnicodeDecodeError:
            raise Fault("a name is not UTF-8") from None
    if reader.left:
        raise Fault(f"it has {reader.left} bytes after its end")


def fault(stream: BinaryIO) -> str:
    """Return what is wrong with a file of arrays, in a few words; empty if nothing is. Reads no values."""
    try:
        pass_list(Reader(stream))
    except Fault as found:
        return str(found)
    return ""
