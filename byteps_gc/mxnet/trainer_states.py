"""Saves and loads what a trainer keeps: what Gluon's file holds, and the momentum around the exchange."""

from typing import Any, Dict, List, Sequence

from byteps_gc.core.agreement import same_shape
from byteps_gc.core.routes import Route, relative
from byteps_gc.errors import ExchangeError
from byteps_gc.mxnet import state_file
from byteps_gc.mxnet.momentum import Momentum
import mxnet as mx
import numpy as np

# attributes of an optimizer that belong to its trainer or to this process, or are treated apart
APART = frozenset(
    ("param_dict", "rescale_grad", "idx2name", "sym_info", "num_update", "aggregate_num", "allow_np_array")
    + ("_index_update_count", "_all_index_update_counts")
)


def save(fname: str, updater: Any, params: Sequence[Any], routes: Sequence[Route]) -> None:
    """Write the states of an updater, the numbers of its optimizer, and the routes' momentum to a file."""
    optimizer, writer = updater.optimizer, state_file.Writer()
    own = {name: value for name, value in vars(optimizer).items() if name not in APART}
    header = {
        "optimizer": type(optimizer).__name__,
        "parameters": described(params),
        "attributes": {name: writer.encode(value, name) for name, value in own.items()},
        "updates": optimizer.num_update,
        "counts": writer.encode(optimizer._index_update_count, "counts"),
        "states": writer.encode(updater.states, "state"),
        "momentum": writer.encode(momenta(routes), "momentum"),
    }
    state_file.write(fname, header, writer.arrays)


def momenta(routes: Sequence[Route]) -> Dict[int, Dict[str, Any]]:
    """The momentum of each route that has some."""
    kept = {route.index: route.momentum for route in routes if route.momentum and route.momentum.state is not None}
    return {index: {"mu": one.mu, "unit": one.unit, "state": one.state} for index, one in kept.items()}


def described(params: Sequence[Any]) -> List[List[Any]]:
    """Name, shape (0: not known) and dtype of each parameter."""
    names = relative([param.name for param in params])
    shapes = [None if param.shape is None else [max(0, size) for size in param.shape] for param in params]
    return [[name, shape, np.dtype(param.dtype).name] for name, shape, param in zip(names, shapes, params)]


def load(fname: str, updater: Any, params: Sequence[Any], routes: Sequence[Route], mu: float) -> None:
    """Load what :func:`save` wrote, as if nothing had been before; compressors start from zero.

    mu: the coefficient of momentum around the exchange. :class:`ExchangeError`, before anything is changed, for the
    file of another optimizer, of other parameters, or of something else.
    """
    header, arrays = state_file.read(fname)
    check(fname, header, updater.optimizer, params, mu, state_file.Reader(arrays, mx.cpu()).decode(header["momentum"]))
    context = params[0].list_ctx()[0] if params else mx.cpu()
    reader = state_file.Reader(arrays, context)
    restore_optimizer(updater.optimizer, header, reader, context)
    updater.states = reader.decode(header["states"])
    updater.states_synced = dict.fromkeys(updater.states, True)
    kept = reader.decode(header["momentum"])
    for route in routes:
        one = kept.get(route.index)
        route.momentum = Momentum(one["mu"], one["state"], one["unit"]) if one else None
        route.reset, route.skipped = True, False


def restore_optimizer(optimizer: Any, header: Dict[str, Any], reader: state_file.Reader, context: "mx.Context") -> None:
    """Give an optimizer the numbers and the counts of updates that were saved."""
    for name, tree in header["attributes"].items():
        setattr(optimizer, name, reader.decode(tree, getattr(optimizer, name, None)))
    optimizer.num_update = header["updates"]
    optimizer._all_index_update_counts = {context.device_id: reader.decode(header["counts"])}
    optimizer._set_current_context(context.device_id)


def check(
    fname: str, header: Dict[str, Any], optimizer: Any, params: Sequence[Any], mu: float, kept: Dict[int, Any]
) -> None:
    """:class:`ExchangeError` unless a file's states are those of this optimizer and of these parameters."""
    if header["optimizer"] != type(optimizer).__name__:
        raise ExchangeError(
            f"{fname} was saved by {header['optimizer']}, but this trainer uses {type(optimizer).__name__}"
        )
    mine, saved = described(params), header["parameters"]
    if len(mine) != len(saved):
        raise ExchangeError(f"{fname} was saved for another net: {len(saved)} parameters, not {len(mine)}")
    for place, (one, other) in enumerate(zip(mine, saved)):
        if (one[0], one[2]) != (other[0], other[2]) or not same_shape(one[1], other[1]):
            raise ExchangeError(
                f"{fname} was saved for another net: parameter {place} is {other[0]} {tuple(other[1] or ())}"
                f" {other[2]}, not {one[0]} {tuple(one[1] or ())} {one[2]}"
            )
    for one in kept.values():
        if one["mu"] != mu:
            raise ExchangeError(
                f"{fname} was saved with momentum {one['mu']:g} inside the compressor, but this trainer has {mu:g}"
            )
    for name, tree in header["attributes"].items():
        state_file.check_objects(tree, getattr(optimizer, name, None), name)
