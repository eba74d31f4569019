"""Streams next to the current one: copies between a GPU and host memory, and collectives within a host."""

import queue
import threading
from typing import Any, Callable, Optional, Sequence, Tuple

from byteps_gc.torch.completion import Done, Outcome
import torch

Work = Callable[[], None]


class Stream:
    """Operations that run in order, concurrently with those of the current stream."""

    def follow(self) -> None:
        """Have all that comes next wait for what the current stream computes now."""
        raise NotImplementedError

    def do(self, work: Work, uses: Sequence[torch.Tensor] = ()) -> Any:
        """Run operations after those before; return an event whose ``synchronize()`` waits for their end.

        uses: tensors that they use, and that were allocated for another stream.
        """
        raise NotImplementedError

    def join(self) -> None:
        """Have the current stream wait for all that this one has to do."""
        raise NotImplementedError


class CudaStream(Stream):
    """A stream of a CUDA device. An event's wait blocks its thread instead of polling."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def follow(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def do(self, work: Work, uses: Sequence[torch.Tensor] = ()) -> Any:
        with torch.cuda.stream(self._stream):
            work()
            event = torch.cuda.Event(blocking=True)
            event.record(self._stream)
        for tensor in uses:
            tensor.record_stream(self._stream)
        return event

    def join(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)


class HostStream(Stream):
    """A thread that works on host memory, where what the current stream computes is there at once."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Tuple[Work, Outcome]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="byteps_gc stream", daemon=True).start()

    def follow(self) -> None:
        pass

    def do(self, work: Work, uses: Sequence[torch.Tensor] = ()) -> Any:
        outcome = Outcome()
        self._work.put((work, outcome))
        return outcome

    def join(self) -> None:
        self.do(lambda: None).synchronize()

    def _run(self) -> None:
        while True:
            work, outcome = self._work.get()
            failure: Optional[Exception] = None
            try:
                work()
            except Exception as error:
                failure = error
            outcome.done(failure)


class Lane:
    """A stream, and a thread that waits for its events in order. The engine never waits for a GPU."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._events: queue.SimpleQueue[Tuple[Any, Done]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="byteps_gc lane", daemon=True).start()

    def send(self, work: Work, then: Done, uses: Sequence[torch.Tensor] = ()) -> None:
        """Run operations on the stream; when they have ended, call ``then`` with None or their error."""
        try:
            event = self.stream.do(work, uses)
        except Exception as error:
            then(error)
        else:
            self._events.put((event, then))

    def _run(self) -> None:
        while True:
            event, then = self._events.get()
            failure: Optional[Exception] = None
            try:
                event.synchronize()
            except Exception as error:
                failure = error
            then(failure)


def stream_for(device: torch.device) -> Optional[Stream]:
    """Return a new stream for copies of a device's memory; None for host memory, which needs none."""
    return CudaStream(device) if device.type == "cuda" else None
