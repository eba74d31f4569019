"""What happens to one parameter's gradient on its worker, around push and pull.

A gradient that is compressed gets its momentum from the compressor. A dense one
gets the same momentum here, so that all parameters follow one optimizer. Weight
decay is added here to both, after the exchange and in full precision, with the
momentum that the optimizer would have given it.
"""

from typing import Optional

import mxnet as mx


def outgoing(gradient: "mx.nd.NDArray") -> "mx.nd.NDArray":
    """The float32 array to sum over all workers: the gradient itself, if it is one.

    It is not divided here: MXNet's operator for that shares temporary space with backward's, and would wait for the
    end of backward, where the exchange is to begin while backward goes on.
    """
    return gradient.astype("float32", copy=False)


def incoming(total: "mx.nd.NDArray", gradient: "mx.nd.NDArray", divisor: float = 1.0) -> None:
    """Write the mean over all workers into ``gradient``: the sum divided by ``divisor``."""
    if divisor != 1.0:
        total *= 1.0 / divisor
    if total is not gradient:
        gradient[:] = total.astype(gradient.dtype, copy=False)


class Momentum:
    """Nesterov momentum for what the compressor gives none (arXiv 1905.10936, and MXNet's NAG).

    dense:      M <- mu*(M + g + wd*x);  g <- g + M
    compressed: W <- mu*(W + wd*x);      g <- g + W

    The optimizer adds wd*x itself.
    """

    def __init__(self, mu: float, weight_decay: float, compressed: bool, state: Optional["mx.nd.NDArray"] = None):
        self.mu = mu
        self.weight_decay = weight_decay
        self.compressed = compressed
        self.state = state

    def apply(self, gradient: "mx.nd.NDArray", weight: "mx.nd.NDArray") -> None:
        """Change ``gradient`` in place; ``weight`` has its shape."""
        if self.compressed and not self.weight_decay:
            return
        x = weight.astype("float32", copy=False)
        update = gradient.astype("float32", copy=False)
        if self.state is None:
            self.state = mx.nd.zeros_like(update)
        if self.compressed:
            # one pass: state <- momentum * state - lr * x; update <- update + state
            rate = -self.mu * self.weight_decay
            mx.nd.sgd_mom_update(update, x, self.state, lr=rate, momentum=self.mu, wd=0.0, out=update)
        else:
            self.state += update + x * self.weight_decay
            self.state *= self.mu
            update += self.state
        incoming(update, gradient)
