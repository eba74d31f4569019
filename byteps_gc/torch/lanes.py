"""The way of gradients between a GPU and the host memory in which they are exchanged."""

import queue
import threading
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch

Pairs = Sequence[Tuple[torch.Tensor, torch.Tensor]]


class Lane:
    """Copies to pinned host memory and back, on a stream of its own, so that backward continues meanwhile.

    A thread waits for the copies' events in order and begins the exchanges. The engine never waits for a GPU.
    """

    def __init__(self) -> None:
        self._copied: queue.SimpleQueue[Tuple[Any, Callable[[], None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="byteps_gc lane", daemon=True).start()

    def send(self, pairs: Pairs, begin: Callable[[], None]) -> None:
        """Copy each pair's first tensor to its second, in host memory; then call ``begin``."""
        self._copied.put((self.copy_out(pairs), begin))

    def _run(self) -> None:
        while True:
            event, begin = self._copied.get()
            event.synchronize()
            begin()

    def copy_out(self, pairs: Pairs) -> Any:
        """Begin to copy to host memory, after what the current stream computes; return the event of its end."""
        raise NotImplementedError

    def copy_back(self, pairs: Pairs) -> None:
        """Begin to copy each pair's second tensor to its first; the current stream continues after that."""
        raise NotImplementedError

    def current(self) -> Any:
        """Return a context in which this lane's stream is the current one."""
        raise NotImplementedError


class CudaLane(Lane):
    """The lane of a CUDA device."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        super().__init__()

    def copy_out(self, pairs: Pairs) -> Any:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for gradient, memory in pairs:
                memory.copy_(gradient, non_blocking=True)
                gradient.record_stream(self._stream)
            return self._stream.record_event()

    def copy_back(self, pairs: Pairs) -> None:
        with torch.cuda.stream(self._stream):
            for gradient, memory in pairs:
                gradient.copy_(memory, non_blocking=True)
                gradient.record_stream(self._stream)
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def current(self) -> Any:
        return torch.cuda.stream(self._stream)


def lane_for(parameters: List[torch.Tensor]) -> Optional[Lane]:
    """Return the lane for gradients of these parameters, which are on one device; None for those in host memory."""
    device = parameters[0].device
    return CudaLane(device) if device.type == "cuda" else None
