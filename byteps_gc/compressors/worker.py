"""The NumPy twin of one worker's side of one partition."""

from typing import Any, Dict, Optional

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.frame import ERROR, NONFINITE, RESET, SERVER, SKIPPED, Frame
from byteps_gc.compressors.partition import Partition
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.wrappers import ErrorFeedback, Momentum
from byteps_gc.errors import CompressionError
import numpy as np


class ReferenceWorker:
    """Compresses gradients [d] of ``dtype`` and reads replies, with momentum (``mu``) and error feedback (``ef``).

    worker, workers: this worker's number and how many there are; stream: see :func:`random.stream_number`;
    registered: the registered size in bytes. :class:`CompressionError` for what does not go together.
    """

    def __init__(
        self,
        compressor: Compressor,
        d: int,
        mu: Optional[float] = None,
        ef: bool = False,
        dtype: str = "float32",
        worker: int = 0,
        workers: int = 1,
        stream: int = 0,
        registered: Optional[int] = None,
    ):
        self.partition = Partition(compressor, d, dtype, workers, mu, ef, registered)
        if not 0 <= worker < workers:
            raise CompressionError(f"worker={worker} is not an integer from 0 to {workers - 1}")
        self.compressor, self.worker, self.stream = compressor, worker, stream
        self.momentum = None if mu is None else Momentum(mu, d)
        self.feedback = ErrorFeedback(d) if ef else None  # unused if the partition is raw: nothing is lost
        self.step, self.eta = 0, np.float32(0)

    def compress(self, gradient: np.ndarray, eta: float, skipped: bool = False, reset: bool = False) -> bytes:
        """What to push for a gradient [d]; ``eta`` is the learning rate that the step will apply.

        skipped: all workers skipped the step before, which is taken back first. reset: momentum and residual start
        from zero again. :class:`CompressionError` for a gradient of another shape or dtype, or a learning rate that is
        not finite or negative; the state then stays.
        """
        with np.errstate(over="ignore"):
            eta = np.float32(eta) + np.float32(0)  # -0 is sent as 0
        if not (np.isfinite(eta) and eta >= 0):
            raise CompressionError(f"eta={eta!r} is not a finite number of at least 0")
        if gradient.shape != (self.partition.d,) or gradient.dtype != self.partition.dtype:
            found = f"{gradient.dtype}{list(gradient.shape)}"
            raise CompressionError(f"gradient has {found}, not {self.partition.dtype}[{self.partition.d}]")
        if reset:
            self._reset()
        elif skipped:
            self._take_back()
        x = gradient.astype(np.float32)
        x = self.momentum.apply(x) if self.momentum else x
        if self.partition.raw:
            data, finite = self.partition.to_raw(x), np.isfinite(x).all()
        else:
            data, finite = self._encode(x, eta, RESET if reset else SKIPPED if skipped else 0)
        if self.momentum and not finite:
            self.momentum.take_back()
        self.step, self.eta = self.step + 1, eta
        return data

    def _encode(self, x: np.ndarray, eta: np.float32, flags: int) -> tuple:
        """Return the frame to push for x, and whether all is finite; update e."""
        feedback, draw = self.feedback, Draw(self.stream, self.step, self.worker)
        p = feedback.apply(x, eta) if feedback else x
        encoded = self.compressor.encode(p, draw, feedback is not None) if np.isfinite(p).all() else None
        if feedback:
            feedback.forget()
        if feedback and encoded:
            feedback.keep(p, self.compressor.decode(encoded, p.size, draw), eta)
        fields = {"flags": flags, "step": self.step, "worker": self.worker, "stream": self.stream, "eta": eta}
        return self.partition.frame(encoded, **fields).pack(), encoded is not None

    def _reset(self) -> None:
        if self.momentum:
            self.momentum.reset()
        if self.feedback:
            self.feedback.reset()

    def _take_back(self) -> None:
        if self.momentum:
            self.momentum.take_back()
        if self.feedback:
            self.feedback.take_back()

    def decompress(self, reply: bytes) -> np.ndarray:
        """The sum of all workers, [d] in the gradient's dtype; all NaN if a worker's was not finite.

        :class:`FrameError` with the server's reason if it refused the step, or if the reply does not belong to the
        last :meth:`compress`.
        """
        reply = bytes(reply)
        may_be_raw = self.partition.raw or self.compressor.lossless_reply
        if may_be_raw and len(reply) == self.partition.bytes:
            return self.partition.from_raw(reply)
        frame = Frame.unpack(reply)
        if frame.flags & ERROR:
            raise FrameError(Refusal.REJECTED, frame.payload.decode(errors="replace"))
        if self.partition.raw:
            raise FrameError(Refusal.RAW_LENGTH, f"{len(reply)} bytes instead of {self.partition.bytes}")
        self.partition.check(frame, True, self.partition.d)
        frame.expect(Refusal.WORKER, "worker", SERVER)
        frame.expect(Refusal.STEP, "step", self.step - 1)
        frame.expect(Refusal.ETA, "eta", self.eta)
        frame.expect(Refusal.STREAM, "stream", self.stream)
        if frame.flags & NONFINITE:
            return np.full(self.partition.d, np.nan, self.partition.dtype)
        with np.errstate(over="ignore"):
            return self.partition.entries(frame).dense(frame.d).astype(self.partition.dtype)

    def state(self) -> Dict[str, Any]:
        """step: number of the next exchange; eta: the learning rate of the residual; momentum, residual: float32[d]
        or None. The arrays are copies."""
        return {
            "step": self.step,
            "eta": float(self.feedback.eta) if self.feedback else 0.0,
            "momentum": self.momentum.m.copy() if self.momentum else None,
            "residual": self.feedback.e.copy() if self.feedback else None,
        }

    def load_state(self, state: Dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        self.step = state["step"]
        if self.momentum:
            self.momentum.load(state["momentum"])
        if self.feedback:
            self.feedback.load(state["residual"], state["eta"])
