"""Nesterov momentum that is applied around the exchange, where the compressor gives a gradient none or only a part.

A gradient that is compressed gets its momentum from the compressor. A dense one
gets the same momentum here, so that all parameters follow one optimizer. Weight
decay is added here to both, after the exchange and in full precision, with the
momentum that the optimizer would have given it.
"""

from typing import Optional

from byteps_gc.mxnet.exchange import classic
import mxnet as mx
import numpy as np


class Momentum:
    """Nesterov momentum of one parameter (arXiv 1905.10936), as MXNet's NAG has it while the learning rate is constant.

    dense:      M <- mu*(M + g + wd*x);  g <- g + M
    encoded:    W <- mu*(W + wd*x);      g <- g + W

    The optimizer adds wd*x itself. g, and with it the state, is in the unit of
    the exchanged gradient: the optimizer multiplies it by ``rescale``.

    mu: the coefficient. state: M or W, float32 or float64 of the gradient's
    shape, or None for zeros. unit: the rescale that belongs to the state.
    """

    def __init__(self, mu: float, state: Optional["mx.nd.NDArray"] = None, unit: float = 1.0):
        self.mu = mu
        self.state = state
        self.unit = unit

    def apply(
        self,
        gradient: "mx.nd.NDArray",
        weight: "mx.nd.NDArray",
        encoded: bool,
        weight_decay: float,
        rescale: float,
    ) -> None:
        """Add the momentum to ``gradient``, in place; ``weight`` has its shape."""
        if encoded and not weight_decay and self.state is None:
            return
        gradient, weight = classic(gradient), classic(weight)
        dtype = np.result_type(gradient.dtype, np.float32).name
        update, x = gradient.astype(dtype, copy=False), weight.astype(dtype, copy=False)
        self._use_unit(rescale, update)
        decay = weight_decay / self.unit
        if encoded and dtype == "float32":
            # one pass: state <- momentum * state - lr * x; update <- update + state
            mx.nd.sgd_mom_update(update, x, self.state, lr=-self.mu * decay, momentum=self.mu, wd=0.0, out=update)
        else:
            self.state += x * decay if encoded else update + x * decay
            self.state *= self.mu
            update += self.state
        if update is not gradient:
            gradient[:] = update.astype(gradient.dtype)

    def _use_unit(self, rescale: float, update: "mx.nd.NDArray") -> None:
        """Have the state, in the unit of gradients that the optimizer multiplies by ``rescale``."""
        unit = rescale or 1.0
        if self.state is None:
            self.state = mx.nd.zeros_like(update)
        elif unit != self.unit:
            self.state *= self.unit / unit
        self.unit = unit
