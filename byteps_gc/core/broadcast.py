"""Gives every worker what one of them has: arrays and bytes. Bytes are summed, so every bit arrives."""

from typing import Optional

from byteps_gc.core import engine, session
from byteps_gc.core.exchange import begin, total
from byteps_gc.errors import ExchangeError
import numpy as np

PIECE = 1 << 22  # bytes that broadcast_bytes exchanges at once


def require_root(root_rank: int) -> None:
    """:class:`ExchangeError` on all workers unless ``root_rank`` takes part."""
    if not total([session.rank() == root_rank], "broadcast.root"):
        raise absent(root_rank)


def broadcast_array(array: np.ndarray, name: str, root_rank: int) -> None:
    """Replace a C-contiguous array by the root's, in place."""
    if session.rank() != root_rank:
        array[...] = np.zeros((), array.dtype)
    engine.wait(begin(array.reshape(-1).view(np.uint8), name, "core"))


def broadcast_bytes(content: Optional[bytes], name: str, root_rank: int = 0) -> bytes:
    """Give every worker the bytes that ``root_rank`` has; what the others pass is not looked at.

    They travel in pieces of a few sizes, so one name serves for contents of all lengths.
    """
    is_root = session.rank() == root_rank
    mine = np.frombuffer(content or b"", np.uint8) if is_root else np.zeros(0, np.uint8)
    size = int(total([1 + mine.size if is_root else 0], f"{name}.length", "int64")[0]) - 1
    if size < 0:
        raise absent(root_rank)
    piece = min(PIECE, max(64, 1 << max(0, size - 1).bit_length()))
    found = []
    for at in range(0, size, piece):
        padded = np.zeros(piece, np.uint8)
        padded[: max(0, min(piece, mine.size - at))] = mine[at : at + piece]
        broadcast_array(padded, f"{name}.{piece}", root_rank)
        found.append(padded.tobytes())
    return b"".join(found)[:size]


def absent(root_rank: int) -> ExchangeError:
    """Return the error of a broadcast from a worker that does not take part."""
    return ExchangeError(f"root_rank={root_rank} is not a worker that takes part: it does not exist, or has joined")
