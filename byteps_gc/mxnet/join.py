"""bps.join(): workers with different numbers of batches."""

import json
from typing import Any, Dict, List
import weakref
import zlib

from byteps_gc import native
from byteps_gc.core import engine, session
from byteps_gc.core.exchange import declarations, declare_missed, total
from byteps_gc.errors import ExchangeError
import mxnet as mx

_followers: List["weakref.ref[Any]"] = []


def join() -> int:
    """Take part in all exchanges with zeros until every worker has joined; return the rank of the last one.

    For workers with different numbers of batches: each calls it when it has no more. Until then the others exchange
    without it: its values in each sum are zeros, and a mean still divides by size(). Momentum and error feedback of its
    compressors stay as they are.

    Only the worker that joined last has all updates: when join() returns, every :class:`DistributedTrainer` has
    parameters, optimizer states and step counts from it. Broadcast what else training changes from that rank.

    A worker that ends without it, while others still exchange, ends the job. In asynchronous training it only waits.
    Raises :class:`ExchangeError` if this worker has several processes.
    """
    if session.local_size() > 1:
        raise ExchangeError("join() needs workers of one process; start one worker for each GPU")
    mx.nd.waitall()
    last, found = engine.join(zlib.compress(json.dumps(_position()).encode()))
    others = json.loads(zlib.decompress(found))
    declare_missed(others)
    for name, steps in others["steps"].items():
        native.Tensor(name).pass_over(steps)
    if session.size() > 1:
        _share(last)
    return last


def follow(follower: Any) -> None:
    """Call ``follower.take_over(rank)`` when all workers have joined, as long as the object exists.

    All workers do so in the same order.
    """
    _followers.append(weakref.ref(follower))


def _share(root: int) -> None:
    """Give all workers what the last one's trainers have: those that still exist on every worker."""
    alive = [one() for one in _followers]
    counts = total([one is not None for one in alive], f"join.{len(alive)}") if alive else []
    for one, count in zip(alive, counts):
        if count == session.size():
            one.take_over(root)


def _position() -> Dict[str, Any]:
    """Where this worker is: what it has declared, and the steps of the tensors that have compressors."""
    mine = declarations()
    named = [options["byteps_tensor"] for _, _, options in mine["tensors"] if "byteps_tensor" in options]
    return dict(mine, steps={name: native.Tensor(name).steps() for name in named})
