"""What a trainer has to know of MXNet's optimizers, and what it rejects."""

from typing import Any, Mapping, Optional, Sequence, Tuple, Union

from byteps_gc.errors import CompressionError
from byteps_gc.settings import Settings
import mxnet as mx
import numpy as np

NESTEROV = ("sgd", "nag")  # those whose momentum can be moved in front of a compressor


def moved_momentum(
    settings: Settings, optimizer: Union[str, "mx.optimizer.Optimizer"], params: Optional[Mapping[str, Any]]
) -> Tuple[float, Optional[Mapping[str, Any]]]:
    """Return the momentum that goes in front of the compressor (0: none), and what is left for the optimizer.

    :class:`CompressionError` for what cannot be moved there.
    """
    if not isinstance(optimizer, str):
        if params:
            raise CompressionError("optimizer_params goes with an optimizer's name, not with an Optimizer that is made")
        params = None
    if not settings.momentum:
        return 0.0, params
    left = dict(params or {})
    if not isinstance(optimizer, str) or optimizer.lower() not in NESTEROV or not left.get("momentum"):
        raise CompressionError(
            f"momentum={settings.momentum!r} takes the coefficient from optimizer_params['momentum']; give the optimizer"
            f" by name ({' or '.join(NESTEROV)}) and a momentum above 0"
        )
    reject_clipping(left.get("clip_gradient"))
    return float(left.pop("momentum")), left


def reject_clipping(limit: Optional[float]) -> None:
    """:class:`CompressionError` if an optimizer clips gradients whose momentum is inside the compressor."""
    if limit is not None and limit > 0:
        raise CompressionError(
            f"clip_gradient={limit:g} would clip gradients with their momentum, which is inside the compressor; leave"
            " momentum='nesterov' out of compression_params, or clip_gradient out of optimizer_params"
        )


def takes_mean(optimizer: "mx.optimizer.Optimizer", params: Sequence[Any]) -> bool:
    """Whether the optimizer can be left to multiply sums by what makes means of them.

    MXNet's own multiply by ``rescale_grad`` first, in the gradient's dtype.
    """
    wide = all(np.dtype(param.dtype).itemsize >= 4 for param in params)
    return wide and type(optimizer).__module__ == mx.optimizer.Optimizer.__module__
