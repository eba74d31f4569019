"""What all workers compare with each other, in small exchanges that all of them make at the same time.

A function that takes a ``name`` returns when the answer has arrived, which is the same on all workers. Workers that
have called bps.join() do not take part.
"""

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple
import zlib

from byteps_gc.core import session
from byteps_gc.core.exchange import total
from byteps_gc.errors import ExchangeError
import numpy as np

FIRST = 1  # priority: before all gradients


def gather(row: Sequence[float], name: str, dtype: str = "float64") -> Tuple[List[int], np.ndarray]:
    """Return the ranks of the workers that take part, in order, and their rows, (ranks, n).

    Integers of int64 and uint8 arrive as they are.
    """
    table = np.zeros((session.size(), 1 + len(row)), dtype)
    table[session.rank()] = [1, *row]
    if session.size() > 1:
        table = total(table, name, dtype, FIRST)
    ranks = np.flatnonzero(table[:, 0])
    return ranks.tolist(), table[ranks, 1:]


def gather_texts(text: str, name: str) -> List[str]:
    """Return the text of each worker that takes part, in the order of ranks. A name serves once."""
    content = np.frombuffer(text.encode(), np.uint8)
    lengths = gather([content.size], f"{name}.length", "int64")[1][:, 0]
    padded = np.zeros(max(1, lengths.max()), np.uint8)
    padded[: content.size] = content
    return [bytes(row[:length]).decode() for row, length in zip(gather(padded, name, "uint8")[1], lengths)]


def row(canonical: str, shape: Optional[Sequence[int]], dtype: Any, more: str, name: str) -> List[Any]:
    """Return the description of an array.

    canonical: name that is the same on all workers. shape: None while it is unknown, as a dimension of 0 is. more: what
    else must be the same. name: this worker's, for messages.
    """
    return [canonical, None if shape is None else [max(0, size) for size in shape], np.dtype(dtype).name, more, name]


def difference(ranks: Sequence[int], workers: Sequence[List[List[Any]]], kind: str = "parameter") -> Optional[str]:
    """Return where descriptions first differ, as one line that names the array and the workers; None if they agree.

    ranks: of the workers. workers: for each, its settings and its arrays' rows. kind: of the arrays.
    """
    settings = [one[0][1] for one in workers]
    if any(one != settings[0] for one in settings):
        return "the workers' trainers have different settings: " + each(ranks, settings, lambda one: json.dumps(one))
    counts = [len(one) - 1 for one in workers]
    for place, rows in enumerate(zip(*(one[1:] for one in workers))):
        if any(not alike(one, rows[0]) for one in rows):
            return f"{kind} {place} is not the same on all workers: " + each(ranks, rows, shown)
    if len(set(counts)) > 1:
        return f"the workers' trainers have different numbers of {kind}s: " + each(ranks, counts, str)
    return None


def alike(one: List[Any], other: List[Any]) -> bool:
    """Return whether two descriptions of an array agree; a dimension that is not known yet agrees with any."""
    return one[0] == other[0] and one[2:4] == other[2:4] and same_shape(one[1], other[1])


def same_shape(one: Optional[Sequence[int]], other: Optional[Sequence[int]]) -> bool:
    """Return whether two shapes agree; 0 stands for a dimension that is not known yet, None for a whole shape."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a == b or not a or not b for a, b in zip(one, other))


def shown(row: List[Any]) -> str:
    """Return an array's description, for messages."""
    shape = "unknown shape" if row[1] is None else str(tuple(row[1]))
    return " ".join(filter(None, (row[4], shape, row[2], row[3])))


def each(ranks: Sequence[int], values: Sequence[Any], text: Any) -> str:
    """Return values with the ranks of the workers that have them, each value once."""
    by_text: Dict[str, List[int]] = {}
    for rank, value in zip(ranks, values):
        by_text.setdefault(text(value), []).append(rank)
    return "; ".join(
        f"{one} on worker{'s' if len(alike) > 1 else ''} {', '.join(map(str, alike))}" for one, alike in by_text.items()
    )


def same_structure(settings: Dict[str, Any], rows: Sequence[List[Any]], name: str, kind: str = "parameter") -> bool:
    """:class:`ExchangeError` on all workers unless each has the same settings and describes the same arrays in order.

    rows: see :func:`row`. Returns whether all workers take part and also know the same shapes.
    """
    mine = json.dumps([["settings", settings], *rows])
    ranks, digests = gather([zlib.crc32(mine.encode())], f"{name}.digest", "int64")
    if (digests != digests[0]).any():
        found = difference(ranks, [json.loads(text) for text in gather_texts(mine, name)], kind)
        if found:
            raise ExchangeError(found)
        return False
    return len(ranks) == session.size()
