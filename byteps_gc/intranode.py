"""What happens to one parameter's gradient on its worker, around push and pull.

A gradient that is compressed gets its momentum from the engine, in front of the
compressor. A dense one gets the same momentum here, so that all parameters
follow one optimizer. Weight decay is added here to both, after the exchange and
in full precision, with the momentum that the optimizer would have given it.
"""

from dataclasses import dataclass
from typing import Optional

import mxnet as mx


@dataclass(frozen=True)
class Plan:
    """How one gradient travels, decided once from its size as float32."""

    half: bool
    workers: int

    def outgoing(self, gradient: "mx.nd.NDArray", batch_size: float) -> "mx.nd.NDArray":
        """The array to sum over all workers, of the gradient's shape.

        Compressed and plain gradients travel as float32, divided by the batch
        and the number of workers; one that is float32 already is scaled in
        place. A float16 array is divided by the number of workers only after
        the sum, because small values vanish in float16.
        """
        if self.half:
            return (gradient / batch_size).astype("float16")
        total = gradient.astype("float32", copy=False)
        total *= 1.0 / (batch_size * self.workers)
        return total

    def incoming(self, total: "mx.nd.NDArray", gradient: "mx.nd.NDArray") -> None:
        """Write the mean over all workers into ``gradient``."""
        if total is gradient:
            return
        if self.half:
            total = total.astype("float32") / self.workers
        gradient[:] = total.astype(gradient.dtype, copy=False)


class Momentum:
    """Nesterov momentum for what the engine gives none (arXiv 1905.10936, and MXNet's NAG).

    dense:      M <- mu*(M + g + wd*x);  g <- g + wd*x + M
    compressed: W <- mu*(W + wd*x);      g <- g + wd*x + W
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
        decay = weight.astype("float32", copy=False) * self.weight_decay
        update = gradient.astype("float32", copy=False) + decay
        if self.state is None:
            self.state = mx.nd.zeros_like(update)
        self.state += decay if self.compressed else update
        self.state *= self.mu
        gradient[:] = (update + self.state).astype(gradient.dtype, copy=False)
