"""What a trainer has to know of MXNet's optimizers, and what it rejects."""

import copy
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from byteps_gc.compressors.settings import Settings
from byteps_gc.errors import CompressionError, ExchangeError, one_line
import mxnet as mx
import numpy as np

NESTEROV = ("sgd", "nag")  # those whose momentum can be moved in front of a compressor
Optimizer = mx.optimizer.Optimizer


def make(
    optimizer: Union[str, Optimizer], params: Optional[Mapping[str, Any]], settings: Settings
) -> Tuple[Optimizer, float]:
    """Return the optimizer, and the momentum that goes in front of the compressor instead of into it (0: none).

    optimizer, params: as for ``mx.gluon.Trainer``; ``params`` stays as it is. Raises :class:`ExchangeError` for what
    Gluon does not take, :class:`CompressionError` for momentum that cannot be moved.
    """
    if isinstance(optimizer, str):
        left = dict(params or {})
        mu = moved_momentum(optimizer, left, settings)
        return create(optimizer, left), mu
    if not isinstance(optimizer, Optimizer):
        raise ExchangeError(f"optimizer must be a name or an mx.optimizer.Optimizer, not {type(optimizer).__name__}")
    if params:
        raise ExchangeError("optimizer_params cannot be combined with an Optimizer object; set its attributes instead")
    if settings.momentum:
        raise not_moved(settings)
    return optimizer, 0.0


def create(name: str, params: Dict[str, Any]) -> Optimizer:
    """Make an optimizer; one line for a name or a parameter that does not exist."""
    kind = Optimizer.opt_registry.get(name.lower())
    if kind is None:
        raise ExchangeError(f"unknown optimizer {name!r}; known: {', '.join(sorted(Optimizer.opt_registry))}")
    try:
        return kind(**params)
    except TypeError as error:
        if is_mxnets(kind):
            raise ExchangeError(f"cannot create optimizer {name} from optimizer_params: {one_line(error)}") from None
        raise


def moved_momentum(optimizer: str, params: Dict[str, Any], settings: Settings) -> float:
    """Take the momentum out of an optimizer's parameters, if it goes in front of the compressor; 0 if it does not."""
    if not settings.momentum:
        return 0.0
    if optimizer.lower() not in NESTEROV or not params.get("momentum"):
        raise not_moved(settings)
    reject_clipping(params.get("clip_gradient"))
    return float(params.pop("momentum"))


def not_moved(settings: Settings) -> CompressionError:
    """Why there is no momentum to move."""
    return CompressionError(
        f"momentum={settings.momentum!r} takes its coefficient from optimizer_params['momentum']; pass the optimizer"
        f" by name ({' or '.join(NESTEROV)}) with a momentum above 0"
    )


def reject_clipping(limit: Optional[float]) -> None:
    """:class:`CompressionError` if an optimizer clips gradients whose momentum is inside the compressor."""
    if limit is not None and limit > 0:
        raise CompressionError(
            f"clip_gradient={limit:g} cannot be combined with momentum inside the compressor, which it would clip too;"
            " remove momentum='nesterov' from compression_params, or clip_gradient from optimizer_params"
        )


def takes_mean(optimizer: Optimizer, params: Sequence[Any]) -> bool:
    """Whether the optimizer can be left to multiply sums by what makes means of them.

    MXNet's own multiply by ``rescale_grad`` first, in the gradient's dtype.
    """
    return is_mxnets(type(optimizer)) and all(np.dtype(param.dtype).itemsize >= 4 for param in params)


def is_mxnets(kind: type) -> bool:
    """Whether an optimizer is one of MXNet's own."""
    return kind.__module__ == Optimizer.__module__


def coming_rate(optimizer: Optimizer, indices: Sequence[int]) -> float:
    """The learning rate that an optimizer is going to apply next; its scheduler does not notice the question.

    indices: of the parameters.
    """
    if not optimizer.lr_scheduler:
        return float(optimizer.lr)
    counts = optimizer._index_update_count
    after = [counts.get(index, optimizer.begin_num_update) + 1 for index in indices]
    try:
        scheduler = copy.deepcopy(optimizer.lr_scheduler)
    except Exception:  # one that holds what cannot be copied
        scheduler = optimizer.lr_scheduler
    return float(scheduler(max([optimizer.num_update, *after])))
