"""What all workers compare with each other: the structure of what they train, batch sizes, fresh gradients, parameters.

Every function that takes a ``name`` is a small exchange that all workers make at the same time; it returns when the
answer is there, which is the same on all of them. Workers that have called bps.join() are not among them.
"""

import json
from typing import Any, Dict, List, Optional, Sequence

from byteps_gc import native
from byteps_gc.core import agreement, session
from byteps_gc.core.agreement import FIRST, each, gather, gather_texts, row
from byteps_gc.core.exchange import total
from byteps_gc.core.routes import canonical
from byteps_gc.errors import ExchangeError
from byteps_gc.mxnet.exchange import memory
import mxnet as mx
import numpy as np


def describe(params: Sequence[Any]) -> List[List[Any]]:
    """Return what is the same on all workers of each parameter: name, shape, dtype, grad_req."""
    names = canonical([param.name for param in params])
    return [
        row(name, param.shape, param.dtype, f"grad_req={param.grad_req}", param.name)
        for name, param in zip(names, params)
    ]


def same_structure(params: Sequence[Any], settings: Dict[str, Any], name: str) -> bool:
    """:class:`ExchangeError` on all workers unless each of them trains the same parameters in the same order.

    Returns whether all workers take part and also know the same shapes.
    """
    return agreement.same_structure(settings, describe(params), name)


def initialized(params: Sequence[Any], identical: bool, name: str) -> np.ndarray:
    """Which workers have initialized which parameters, (workers, n) bool, once all have those that some worker has.

    A worker that does not know a shape gets it from the others. identical: all workers are known to have the same.
    """
    shapes = [None if param._data is None else list(param.shape) for param in params]
    known = np.array([shape is not None for shape in shapes])
    if identical:
        return np.tile(known, (session.size(), 1))
    ranks, rows = gather(known, f"{name}.{len(params)}", "uint8")
    table = np.zeros((session.size(), len(params)), bool)
    table[ranks] = rows
    if (rows.any(axis=0) & ~rows.all(axis=0)).any():
        found = [json.loads(text) for text in gather_texts(json.dumps(shapes), f"{name}.shapes.{len(params)}")]
        for param, mine, others in zip(params, shapes, zip(*found)):
            adopt(param, mine, next((shape for shape in others if shape is not None), None))
    return table


def adopt(param: Any, mine: Optional[List[int]], shape: Optional[List[int]]) -> None:
    """Initialize a parameter that this worker has not used yet with the shape that another worker found."""
    if mine is None and shape is not None:
        param.shape = tuple(shape)
        param._finish_deferred_init()


def fresh_anywhere(fresh: Sequence[bool], active: Sequence[bool], names: Sequence[str], name: str) -> np.ndarray:
    """For each parameter, (n,) bool, whether some worker's backward has computed its gradient.

    active: whether its grad_req is not "null" here; :class:`ExchangeError` on all workers if they differ in that.
    """
    found = total([fresh, active, [True] * len(names)], name, "int64", FIRST)
    for place in np.flatnonzero(found[1] % found[2]):
        raise ExchangeError(f"{names[place]} has grad_req='null' on some workers only; set the same grad_req on all")
    return found[0] > 0


def same_parameters(arrays: Sequence["mx.nd.NDArray"], names: Sequence[str], step: int, name: str) -> None:
    """:class:`ExchangeError` on all workers unless the arrays are equal bit for bit on all of them.

    names: of the arrays, for the message. step: how many steps were made.
    """
    mine = np.array([native.checksum(memory(array)) for array in arrays], np.int64)
    _, digests = gather([native.checksum(mine.view(np.uint8))], f"{name}.digest", "int64")
    if (digests == digests[0]).all():
        return
    ranks, table = gather(mine, f"{name}.each", "int64")
    place = int(np.flatnonzero((table != table[0]).any(axis=0))[0])
    groups = each(ranks, table[:, place].tolist(), lambda checksum: f"checksum {checksum:08x}")
    raise ExchangeError(
        f"parameters differ between workers after step {step}; the first to differ is {names[place]} ({groups}). Likely"
        " causes: different learning rates or other optimizer options, a gradient that is stale or was changed on one"
        " worker, parameters set on one worker after the first step, or an update that draws random numbers"
    )


def same_rescale(rescale: float, name: str) -> None:
    """:class:`ExchangeError` on all workers unless each of them calls update() with the same batch size and scale."""
    ranks, found = gather([rescale], name)
    if (found != found[0]).any():
        raise ExchangeError(
            "update() after allreduce_grads() needs the same batch size on all workers, because the gradients are"
            f" already averaged: rescale_grad / batch_size is {each(ranks, found[:, 0].tolist(), '{:g}'.format)};"
            " step() accepts a different batch size on each worker"
        )
