"""bps.join(): workers with different numbers of batches."""

import ctypes
import json
from typing import Any, Dict, List, Tuple
import weakref
import zlib

import byteps.mxnet.ops as engine
from byteps_gc import native
from byteps_gc.mxnet.exchange import ExchangeError, added, declarations, declare_missed, require_started, total
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
    require_started()
    if engine.local_size() > 1:
        raise ExchangeError("join() needs workers of one process; start one worker for each GPU")
    mx.nd.waitall()
    last, found = _meet(zlib.compress(json.dumps(_position()).encode()))
    others = json.loads(zlib.decompress(found))
    declare_missed(others)
    for name, steps in others["steps"].items():
        native.Tensor(name).pass_over(steps)
    if engine.size() > 1:
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
        if count == engine.size():
            one.take_over(root)


def _position() -> Dict[str, Any]:
    """Where this worker is: what it has declared, and the steps of the tensors that have compressors."""
    mine = declarations()
    named = [options["byteps_tensor"].lower() for _, _, options in mine["tensors"] if "byteps_tensor" in options]
    return dict(mine, steps={name: native.Tensor(name).steps() for name in named})


def _meet(text: bytes) -> Tuple[int, bytes]:
    """Wait until all workers have joined; return the rank and the text of the last one."""
    function = added("byteps_gc_join")
    if function is None:
        raise ExchangeError("this BytePS has no join(); python -m byteps_gc engine build builds one that has")
    function.restype = ctypes.c_void_p
    last, length = ctypes.c_int(), ctypes.c_uint64()
    found = function(text, ctypes.c_uint64(len(text)), ctypes.byref(last), ctypes.byref(length))
    return last.value, ctypes.string_at(found, length.value)
