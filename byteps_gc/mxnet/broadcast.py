"""Gives every worker what one of them has: arrays and bytes."""

from typing import Mapping, Optional

import byteps.mxnet.ops as engine
from byteps_gc.mxnet.exchange import ExchangeError, push_pull, total
import mxnet as mx
import numpy as np

PIECE = 1 << 22  # bytes that broadcast_bytes exchanges at once


def replace_by_root(tensor: "mx.nd.NDArray", name: str, root_rank: int = 0) -> None:
    """Replace ``tensor`` by that of ``root_rank``: a sum in which the others are zero. Returns at once."""
    if engine.rank() != root_rank:
        tensor[:] = 0
    push_pull(tensor, name=name, is_average=False)


def broadcast(params: Mapping[str, "mx.nd.NDArray"], root_rank: int = 0) -> None:
    """Give every worker the arrays of ``root_rank``; returns when they have arrived.

    params: a dict from names, the same on all workers, to arrays (as
        ``Module.get_params()`` returns them). A Gluon user need not call this:
        :class:`DistributedTrainer` broadcasts all parameters at its first step.
    root_rank: a worker that takes part: after :func:`join`, its result. :class:`ExchangeError` for another one.
    """
    if not isinstance(params, Mapping) or isinstance(params, mx.gluon.ParameterDict):
        raise ExchangeError(
            f"broadcast takes a dict of arrays, not {type(params).__name__}; DistributedTrainer broadcasts Gluon's"
        )
    if not total([engine.rank() == root_rank], "broadcast.root"):
        raise absent(root_rank)
    for name, tensor in sorted(params.items()):
        replace_by_root(tensor, f"broadcast.{name}", root_rank)
    for tensor in params.values():
        tensor.wait_to_read()


def broadcast_bytes(content: Optional[bytes], name: str, root_rank: int = 0) -> bytes:
    """Give every worker the bytes that ``root_rank`` has; what the others pass is not looked at.

    They travel in pieces of a few sizes, so that one name serves for contents of all lengths.
    """
    mine = np.frombuffer(content or b"", dtype=np.uint8)
    length = mx.nd.array([1 + mine.size], dtype="int64")
    replace_by_root(length, f"{name}.length", root_rank)
    size = int(length.asscalar()) - 1
    if size < 0:
        raise absent(root_rank)
    piece = min(PIECE, max(64, 1 << max(0, size - 1).bit_length()))
    found = []
    for at in range(0, size, piece):
        padded = np.zeros(piece, np.uint8)
        padded[: max(0, min(piece, mine.size - at))] = mine[at : at + piece]
        tensor = mx.nd.array(padded, dtype="uint8")
        replace_by_root(tensor, f"{name}.{piece}", root_rank)
        found.append(tensor.asnumpy().tobytes())
    return b"".join(found)[:size]


def absent(root_rank: int) -> ExchangeError:
    """A broadcast from a worker that does not take part."""
    return ExchangeError(f"root_rank={root_rank} is not a worker that takes part: it does not exist, or has joined")
