"""What all workers compare with each other: the structure of what they train, batch sizes, fresh gradients, parameters.

Every function that takes a ``name`` is a small exchange that all workers make at the same time; it returns when the
answer is there, which is the same on all of them. Workers that have called bps.join() are not among them.
"""

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple
import zlib

import byteps.mxnet.ops as engine
from byteps_gc import native
from byteps_gc.core.routes import canonical
from byteps_gc.mxnet.exchange import ExchangeError, memory, total
import mxnet as mx
import numpy as np

FIRST = 1  # priority: before all gradients


def gather(row: Sequence[float], name: str, dtype: str = "float64") -> Tuple[List[int], np.ndarray]:
    """Return the ranks of the workers that take part, in order, and their rows, (ranks, n).

    Integers of int64 and uint8 arrive as they are.
    """
    table = np.zeros((engine.size(), 1 + len(row)), dtype)
    table[engine.rank()] = [1, *row]
    if engine.size() > 1:
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


def describe(params: Sequence[Any], settings: Dict[str, Any]) -> List[List[Any]]:
    """Return what is the same on all workers: the settings, and each parameter's name, shape, dtype, grad_req."""
    names = canonical([param.name for param in params])
    found: List[List[Any]] = [["settings", settings]]
    for name, param in zip(names, params):
        shape = None if param.shape is None else [max(0, size) for size in param.shape]
        found.append([name, shape, np.dtype(param.dtype).name, param.grad_req, param.name])
    return found


def difference(ranks: Sequence[int], workers: Sequence[List[List[Any]]]) -> Optional[str]:
    """Where descriptions first differ, as one line that names the parameter and the workers; None if they do not.

    ranks: of the workers.
    """
    settings = [one[0][1] for one in workers]
    if any(one != settings[0] for one in settings):
        return "the workers' trainers have different settings: " + each(ranks, settings, lambda one: json.dumps(one))
    counts = [len(one) - 1 for one in workers]
    for place, rows in enumerate(zip(*(one[1:] for one in workers))):
        if any(not alike(row, rows[0]) for row in rows):
            return f"parameter {place} is not the same on all workers: " + each(ranks, rows, shown)
    if len(set(counts)) > 1:
        return "the workers' trainers have different numbers of parameters: " + each(ranks, counts, str)
    return None


def alike(one: List[Any], other: List[Any]) -> bool:
    """Whether two descriptions of a parameter agree; a dimension that is not known yet agrees with any."""
    return one[0] == other[0] and one[2:4] == other[2:4] and same_shape(one[1], other[1])


def same_shape(one: Optional[Sequence[int]], other: Optional[Sequence[int]]) -> bool:
    """Whether two shapes agree; 0 stands for a dimension that is not known yet, None for a whole shape."""
    if one is None or other is None:
        return True
    return len(one) == len(other) and all(a == b or not a or not b for a, b in zip(one, other))


def shown(row: List[Any]) -> str:
    """A parameter's description, for messages."""
    shape = "unknown shape" if row[1] is None else str(tuple(row[1]))
    return f"{row[4]} {shape} {row[2]} grad_req={row[3]}"


def each(ranks: Sequence[int], values: Sequence[Any], text: Any) -> str:
    """Values with the ranks of the workers that have them, each value once."""
    by_text: Dict[str, List[int]] = {}
    for rank, value in zip(ranks, values):
        by_text.setdefault(text(value), []).append(rank)
    return "; ".join(
        f"{one} on worker{'s' if len(alike) > 1 else ''} {', '.join(map(str, alike))}" for one, alike in by_text.items()
    )


def same_structure(params: Sequence[Any], settings: Dict[str, Any], name: str) -> bool:
    """:class:`ExchangeError` on all workers unless each of them trains the same parameters in the same order.

    Returns whether all workers take part and also know the same shapes.
    """
    mine = json.dumps(describe(params, settings))
    ranks, digests = gather([zlib.crc32(mine.encode())], f"{name}.digest", "int64")
    if (digests != digests[0]).any():
        found = difference(ranks, [json.loads(text) for text in gather_texts(mine, name)])
        if found:
            raise ExchangeError(found)
        return False
    return len(ranks) == engine.size()


def initialized(params: Sequence[Any], identical: bool, name: str) -> np.ndarray:
    """Which workers have initialized which parameters, (workers, n) bool, once all have those that some worker has.

    A worker that does not know a shape gets it from the others. identical: all workers are known to have the same.
    """
    shapes = [None if param._data is None else list(param.shape) for param in params]
    known = np.array([shape is not None for shape in shapes])
    if identical:
        return np.tile(known, (engine.size(), 1))
    ranks, rows = gather(known, f"{name}.{len(params)}", "uint8")
    table = np.zeros((engine.size(), len(params)), bool)
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
