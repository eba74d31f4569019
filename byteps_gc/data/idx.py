"""Gzipped IDX files, as Fashion-MNIST has them."""

import gzip
import math
from pathlib import Path
import struct
from typing import BinaryIO, Tuple, cast
import zlib

from byteps_gc.data.labels import check_size
from byteps_gc.errors import DatasetError
import numpy as np


def read(file: Path, dimensions: int) -> np.ndarray:
    """Read a file of unsigned bytes with N ``dimensions``.

    Decompresses at most one byte more than the header announces. Raises
    :class:`DatasetError` for a file that is missing, damaged or of another kind.
    """
    try:
        with gzip.open(str(file)) as stream:
            shape = read_shape(file, cast(BinaryIO, stream), dimensions)
            size = math.prod(shape)
            check_size(file, size)
            content = stream.read(size + 1)
    except FileNotFoundError:
        raise DatasetError(
            f"no {file.name} in {file.parent}: install Debian's package dataset-fashion-mnist,"
            " or pass its folder with --data-dir"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"cannot read {file}: {error}") from None
    if len(content) != size:
        held = f"only {len(content)}" if len(content) < size else "more"
        raise DatasetError(f"{file} announces {size} bytes, {' x '.join(map(str, shape))}, but holds {held}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def read_shape(file: Path, stream: BinaryIO, dimensions: int) -> Tuple[int, ...]:
    """Read the header: the sizes of the dimensions."""
    header = stream.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
        raise DatasetError(f"{file} is not an IDX file of unsigned bytes with {dimensions} dimensions")
    return struct.unpack(f">{dimensions}I", header[4:])
