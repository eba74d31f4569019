"""Gives every worker the MXNet arrays of one of them."""

from typing import Mapping

from byteps_gc.core import session
from byteps_gc.core.broadcast import require_root
from byteps_gc.errors import ExchangeError
from byteps_gc.mxnet.exchange import push_pull
import mxnet as mx


def replace_by_root(tensor: "mx.nd.NDArray", name: str, root_rank: int = 0) -> None:
    """Replace ``tensor`` by that of ``root_rank``: a sum in which the others are zero. Returns at once."""
    if session.rank() != root_rank:
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
    require_root(root_rank)
    for name, tensor in sorted(params.items()):
        replace_by_root(tensor, f"broadcast.{name}", root_rank)
    for tensor in params.values():
        tensor.wait_to_read()
