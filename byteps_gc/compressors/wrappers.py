"""Momentum and error feedback around a compressor. Each can take its last step back.

A step replaces the state array and never changes it, so that the array before it needs no copy. All arithmetic is
float32, one rounding for each operation (docs/wire_format.md, Wrappers on a worker).
"""

import numpy as np


class Momentum:
    """Nesterov momentum in front of a compressor: m = mu m + g, x = g + mu m.

    Y. Nesterov 1983, as in dist-EF-SGDM (Zheng et al., arXiv 1905.10936, algorithm 2). State: ``m``, float32[d].
    """

    def __init__(self, mu: float, d: int):
        self.mu = np.float32(mu)
        self.d = d
        self.reset()

    def apply(self, gradient: np.ndarray) -> np.ndarray:
        """Return x of a gradient float32[d]; update m."""
        self._before = self.m
        with np.errstate(all="ignore"):
            self.m = self.mu * self.m + gradient
            return gradient + self.mu * self.m

    def take_back(self) -> None:
        """Return to the state before the last :meth:`apply`; once more does nothing."""
        self.m = self._before

    def reset(self) -> None:
        """Start from zero; there is nothing to take back."""
        self.load(np.zeros(self.d, np.float32))

    def load(self, m: np.ndarray) -> None:
        """Continue from a saved state; there is nothing to take back."""
        self.m = self._before = np.array(m, np.float32)


class ErrorFeedback:
    """Add what the compression before lost, for the learning rate of now: p = x + (eta' / eta) e; e = p - c.

    F. Seide et al. 2014; with the ratio of learning rates Zheng et al., arXiv 1905.10936, algorithm 2. State: ``e``,
    float32[d], and ``eta``, the learning rate eta' that e belongs to (float32; 0 at the start). A step with learning
    rate 0 is not corrected, because nothing that it sends is applied, and leaves the state.
    """

    def __init__(self, d: int):
        self.d = d
        self.reset()

    def apply(self, x: np.ndarray, eta: np.float32) -> np.ndarray:
        """p of an x float32[d]; the state stays until :meth:`keep`."""
        if eta == 0:
            return x
        with np.errstate(all="ignore"):
            ratio = self.eta / eta if self.eta else np.float32(1)
            return x + ratio * self.e

    def keep(self, p: np.ndarray, c: np.ndarray, eta: np.float32) -> None:
        """End the step in which p was sent and c will be read."""
        self.forget()
        if eta != 0:
            with np.errstate(all="ignore"):
                self.e, self.eta = p - c, eta

    def forget(self) -> None:
        """Say that a step changed nothing: there is nothing to take back."""
        self._before = (self.e, self.eta)

    def take_back(self) -> None:
        """Return to the state before the last :meth:`keep`; once more does nothing."""
        self.e, self.eta = self._before

    def reset(self) -> None:
        """Start from zero; there is nothing to take back."""
        self.load(np.zeros(self.d, np.float32), 0.0)

    def load(self, e: np.ndarray, eta: float) -> None:
        """Continue from a saved state; there is nothing to take back."""
        self.e, self.eta = np.array(e, np.float32), np.float32(eta)
        self.forget()
