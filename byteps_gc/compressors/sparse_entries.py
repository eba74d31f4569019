"""What compressors exchange with the frame around them, and the sum of what several workers sent."""

from dataclasses import dataclass
from typing import List, Optional

from byteps_gc.compressors.coding import read_codes, write_codes
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.values import read_values, size_of, write_values
import numpy as np


@dataclass(frozen=True)
class Encoded:
    """A payload and the fields of its frame that belong to it."""

    count: int
    payload: bytes
    scale: float = 1.0
    flags: int = 0


@dataclass(frozen=True)
class Entries:
    """Some elements of a partition: ascending indices int64[count] and values float32[count]."""

    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def all(cls, values: np.ndarray) -> "Entries":
        """Every element of float32[d]."""
        return cls(np.arange(values.size), values)

    def dense(self, d: int) -> np.ndarray:
        """float32[d], zero where there is no entry."""
        dense = np.zeros(d, np.float32)
        dense[self.indices] = self.values
        return dense


def union(parts: List[Entries]) -> Entries:
    """All indices of the parts, each with the sum of its values in the order of the parts.

    A sum begins with its first value, not with zero: -0.0 alone stays -0.0.
    """
    indices = np.unique(np.concatenate([part.indices for part in parts]))
    values = np.zeros(indices.size, np.float32)
    seen = np.zeros(indices.size, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for part in parts:
            at = np.searchsorted(indices, part.indices)
            values[at] = np.where(seen[at], values[at] + part.values, part.values)
            seen[at] = True
    return Entries(indices, values)


def write_sparse(entries: Entries, d: int, form: int) -> Optional[Encoded]:
    """A Rice stream of the indices, then the values in this form (:func:`write_values`); None if one is not finite."""
    written = write_values(entries.values, form)
    if written is None:
        return None
    values, scale, flags = written
    return Encoded(entries.indices.size, write_codes(entries.indices, d)[0] + values, scale, flags)


def check_count(encoded: Encoded, least: int, most: int) -> None:
    """:class:`FrameError` for a count that the codec does not have."""
    if not least <= encoded.count <= most:
        raise FrameError(Refusal.COUNT, f"{encoded.count} instead of {least}" + (f" to {most}" if most > least else ""))


def read_sparse(encoded: Encoded, d: int, form: int) -> Entries:
    """Read a stream of indices and the values after it; :class:`FrameError` if they are malformed."""
    check_count(encoded, 0, d)
    length = len(encoded.payload) - encoded.count * size_of(form)
    if length < 0:
        raise FrameError(Refusal.PAYLOAD, f"{len(encoded.payload)} bytes for {encoded.count} entries")
    indices, _, _ = read_codes(encoded.payload[:length], d, encoded.count)
    return Entries(indices, read_values(encoded.payload[length:], encoded.count, encoded.scale, form))
