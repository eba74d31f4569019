"""The NumPy twin of the server's side of one partition."""

from typing import Any, Dict, List, Optional

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.frame import NONFINITE, REPLY, RESET, SERVER, SKIPPED, Frame
from byteps_gc.compressors.partition import Partition
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.sparse_entries import Encoded, Entries, union
from byteps_gc.compressors.wrappers import ErrorFeedback
import numpy as np

LAST_STEP = 2**32 - 1  # is never served: no step could follow it


class ReferenceServer:
    """Sums what the workers push. Each step: one :meth:`push` for every worker, then one :meth:`reply`.

    The arguments are those of ReferenceWorker.
    """

    def __init__(
        self,
        compressor: Compressor,
        d: int,
        mu: Optional[float] = None,
        ef: bool = False,
        dtype: str = "float32",
        workers: int = 1,
        registered: Optional[int] = None,
    ):
        self.partition = Partition(compressor, d, dtype, workers, mu, ef, registered)
        self.compressor = compressor
        self.feedback = ErrorFeedback(d) if ef and not (compressor.lossless_reply or self.partition.raw) else None
        self.step = 0
        self._known = False  # whether the number of elements is
        self._begin()

    def _begin(self) -> None:
        """Wait for the pushes of a step."""
        self._pushes: Dict[int, tuple] = {}
        self._raw: List[np.ndarray] = []
        self._refused: Optional[FrameError] = None

    def _elements(self) -> Optional[int]:
        """The number of elements, or None before the first push: only the registered size is known then."""
        if self._known:
            return self.partition.d
        first = next((frame.d for frame, _ in self._pushes.values()), None)
        return self._raw[0].size if self._raw else first

    def push(self, data: bytes) -> None:
        """Take one worker's push. :class:`FrameError` if it is refused: the whole step is then answered with ERROR."""
        try:
            if self.partition.raw:
                self._take_raw(bytes(data))
            else:
                self._take(Frame.unpack(data))
        except FrameError as error:
            self._refused = self._refused or error
            raise

    def _take_raw(self, data: bytes) -> None:
        """Check the length of a raw push and read it."""
        dtype = np.dtype(self.partition.dtype).newbyteorder("<")
        d, rest = divmod(len(data), dtype.itemsize)
        elements = self._elements()
        if rest or (d != elements if elements else not self.partition.allows(d)):
            raise FrameError(Refusal.RAW_LENGTH, f"{len(data)} bytes")
        self._raw.append(np.frombuffer(data, dtype).astype(np.float64))

    def _take(self, frame: Frame) -> None:
        """Check a frame and read its entries."""
        self.partition.check(frame, False, self._elements())
        if frame.worker >= self.partition.workers:
            raise FrameError(Refusal.WORKER, f"{frame.worker} of {self.partition.workers}")
        if frame.step < self.step or frame.step == LAST_STEP:
            raise FrameError(Refusal.COMPLETE, f"step {frame.step} of worker {frame.worker}")
        if frame.worker in self._pushes:
            raise FrameError(Refusal.SECOND, f"worker {frame.worker}, step {frame.step}")
        for other, _ in self._pushes.values():
            self._agree(frame, other)
        self._pushes[frame.worker] = (frame, None if frame.flags & NONFINITE else self.partition.entries(frame))

    @staticmethod
    def _agree(frame: Frame, other: Frame) -> None:
        """:class:`FrameError` if two pushes are not of the same step."""
        for code, name in ((Refusal.STEP, "step"), (Refusal.ETA, "eta"), (Refusal.STREAM, "stream")):
            one, two = sorted((getattr(frame, name), getattr(other, name)))
            if one != two:
                raise FrameError(code, f"{one:g} and {two:g}" if name == "eta" else f"{one} and {two}")
        for code, flag in ((Refusal.SKIPPED, SKIPPED), (Refusal.RESET, RESET)):
            if (frame.flags ^ other.flags) & flag:
                raise FrameError(code)

    def reply(self, absent: int = 0) -> bytes:
        """End the step: the answer for all workers. absent: how many have not pushed, and count as zeros.

        An ERROR frame if a push was refused or is missing. A raw partition has no room for a reason: all NaN then.
        """
        arrived = len(self._pushes) + len(self._raw)
        if not self._refused and (not arrived or arrived + absent != self.partition.workers):
            self._refused = FrameError(Refusal.MISSING, f"{arrived} of {self.partition.workers}")
        if not self._refused and self._elements() != self.partition.d:
            self._refused = FrameError(Refusal.ELEMENTS, f"{self._elements()} instead of {self.partition.d}")
        self._known = True
        if self._refused:
            reply = self._error()
        else:
            reply = self._raw_sum() if self.partition.raw else self._answer()
        self._begin()
        return reply

    def _error(self) -> bytes:
        """The answer of a step that is refused; E stays, and there is nothing to take back."""
        if self.partition.raw:
            return self.partition.to_raw(np.full(self.partition.d, np.nan, np.float32))
        if self.feedback:
            self.feedback.forget()
        step = max([self.step, *(frame.step for frame, _ in self._pushes.values())])
        return self.partition.error(str(self._refused), step)

    def _raw_sum(self) -> bytes:
        """Raw pushes added in double in order of arrival, from 0."""
        total = np.zeros(self.partition.d)
        with np.errstate(invalid="ignore", over="ignore"):
            for values in self._raw:
                total += values
            return self.partition.to_raw(total.astype(np.float32))

    def _answer(self) -> bytes:
        """The reply of a step in which all have pushed."""
        frames, parts = zip(*(self._pushes[worker] for worker in sorted(self._pushes)))
        first = frames[0]
        if self.feedback:
            if first.flags & RESET:
                self.feedback.reset()
            elif first.flags & SKIPPED:
                self.feedback.take_back()
            self.feedback.forget()
        self.step = first.step + 1
        finite = not any(frame.flags & NONFINITE for frame in frames)
        encoded = self._encode(union(list(parts)), first) if finite else None
        fields = {"flags": REPLY, "step": first.step, "worker": SERVER, "stream": first.stream, "eta": first.eta}
        reply = self.partition.frame(encoded, **fields).pack()
        if encoded and len(reply) >= self.partition.bytes:
            return self.partition.to_raw(union(list(parts)).dense(first.d))
        return reply

    def _encode(self, total: Entries, frame: Frame) -> Optional[Encoded]:
        """Return the payload of the reply, or None if the sum is not finite; update E."""
        draw = Draw(frame.stream, frame.step, SERVER)
        if not self.feedback:
            return self.compressor.encode_sum(total, frame.d, draw, False)
        eta = np.float32(frame.eta)
        p = self.feedback.apply(total.dense(frame.d), eta)
        encoded = self.compressor.encode_sum(Entries.all(p), frame.d, draw, True)
        if encoded:
            self.feedback.keep(p, self.compressor.sum_entries(encoded, frame.d, draw).dense(frame.d), eta)
        return encoded

    def state(self) -> Dict[str, Any]:
        """step: the one after the last that was answered with a sum; eta: the learning rate of the residual;
        residual: E, float32[d], or None where the server loses nothing. The array is a copy."""
        feedback = self.feedback
        return {
            "step": self.step,
            "eta": float(feedback.eta) if feedback else 0.0,
            "residual": feedback.e.copy() if feedback else None,
        }

    def load_state(self, state: Dict[str, Any]) -> None:
        """Continue from what :meth:`state` returned."""
        self.step, self._known = state["step"], True
        if self.feedback:
            self.feedback.load(state["residual"], state["eta"])
