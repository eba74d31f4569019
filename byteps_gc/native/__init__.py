"""The native compressors, loaded for this processor. No other package touches pointers into the library."""

import ctypes
from typing import Any, Dict, List, Optional, Tuple

from byteps_gc.compressors.options import option_texts
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.errors import CompressionError
from byteps_gc.native.binding import library
import numpy as np

DTYPES = {"float32": 0, "float16": 2}
ALIGNMENT = {"float32": 128, "float16": 32}  # of BytePS's partitions, in bytes
WHY = 256
RATE_LIMIT = 2.0**128 - 2.0**103  # from here on, float32 rounds to infinity


def aligned(elements: int, dtype: str) -> int:
    """The size in bytes with which BytePS registers a partition."""
    step = ALIGNMENT[dtype]
    return -(-elements * np.dtype(dtype).itemsize // step) * step


def address(data: Any) -> int:
    """Where the bytes of an array, of bytes or of a memoryview begin."""
    if isinstance(data, np.ndarray):
        return data.ctypes.data
    return np.frombuffer(data if len(data) else b"\0", np.uint8).ctypes.data


def view(start: int, size: int) -> memoryview:
    """Memory of the library; it stays valid until the next call of the object that returned it."""
    return memoryview((ctypes.c_uint8 * size).from_address(start)).cast("B")


class _Partition:
    """What worker and server share: the options as text, a handle and a place for reasons."""

    kind = ""

    def __init__(self, isa: Optional[str], elements: int, dtype: str, registered: Optional[int]):
        self.elements = elements
        self.dtype = np.dtype(dtype)
        self.registered = registered or aligned(elements, dtype)
        self._library = library(isa)
        self._why = ctypes.create_string_buffer(WHY)

    def _open(self, texts: Dict[str, str], *arguments: int) -> None:
        lines = "\n".join(f"{key}={text}" for key, text in texts.items()).encode()
        make = getattr(self._library, f"bgc_{self.kind}_new")
        self._handle = make(lines, DTYPES[self.dtype.name], self.registered, *arguments, self._why)
        if not self._handle:
            raise CompressionError(self.reason())

    def reason(self) -> str:
        """What the library wrote about the last call that it refused."""
        return self._why.value.decode(errors="replace")

    def _accepted(self, code: int) -> None:
        """:class:`FrameError` if the library refused a frame with this code; 0: it did not."""
        if code:
            raise FrameError(Refusal(code), self.reason())

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            getattr(self._library, f"bgc_{self.kind}_free")(self._handle)


class Worker(_Partition):
    """One partition on a worker; the same as :class:`~byteps_gc.compressors.reference.ReferenceWorker`.

    isa: "avx2" or "portable"; both compute the same bits. All else is as there.
    """

    kind = "worker"

    def __init__(
        self,
        compressor,
        d,
        mu=None,
        ef=False,
        dtype="float32",
        worker=0,
        workers=1,
        stream=0,
        registered=None,
        isa=None,
    ):
        super().__init__(isa, d, dtype, registered)
        self._wrapped = (mu is not None, bool(ef))
        self._open(option_texts(compressor, mu, ef), workers, worker, stream)

    def compress_view(self, gradient: np.ndarray, eta: float, skipped: bool = False, reset: bool = False) -> memoryview:
        """The frame that pushes ``gradient`` (shape (d,), contiguous, of the partition's dtype)."""
        if gradient.shape != (self.elements,) or gradient.dtype != self.dtype or not gradient.flags.c_contiguous:
            raise CompressionError(
                f"gradient has {gradient.dtype}{list(gradient.shape)}, not contiguous {self.dtype}[{self.elements}]"
            )
        check_rate(eta)
        size = ctypes.c_size_t()
        start = self._library.bgc_worker_compress(
            self._handle, address(gradient), self.elements, eta, before(skipped, reset), ctypes.byref(size)
        )
        return view(start, size.value)

    def compress(self, gradient: np.ndarray, eta: float, skipped: bool = False, reset: bool = False) -> bytes:
        """As :meth:`compress_view`, copied."""
        return bytes(self.compress_view(gradient, eta, skipped, reset))

    def decompress_into(self, reply: Any, out: np.ndarray) -> None:
        """Write what a server replied to ``out``; :class:`FrameError` for what is malformed or an error."""
        code = self._library.bgc_worker_decompress(
            self._handle, address(reply), len(reply), self.elements, address(out), self._why
        )
        self._accepted(code)

    def decompress(self, reply: bytes) -> np.ndarray:
        """The values that a server replied, shape (d,), of the partition's dtype."""
        out = np.empty(self.elements, self.dtype)
        self.decompress_into(reply, out)
        return out

    def state(self) -> Dict[str, Any]:
        """Step, rate of the residual, and momentum and residual as float32 of shape (d,), or None."""
        arrays: List[Optional[np.ndarray]] = [
            np.zeros(self.elements, np.float32) if wrapped else None for wrapped in self._wrapped
        ]
        eta, step = ctypes.c_float(), ctypes.c_uint32()
        places = [None if array is None else address(array) for array in arrays]
        self._library.bgc_worker_save(self._handle, *places, ctypes.byref(eta), ctypes.byref(step))
        return {"step": step.value, "eta": eta.value, "momentum": arrays[0], "residual": arrays[1]}

    def load_state(self, state: Dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken."""
        arrays = [state[name] for name in ("momentum", "residual")]
        kept = [None if array is None else np.ascontiguousarray(array, np.float32) for array in arrays]
        places = [None if array is None else address(array) for array in kept]
        self._library.bgc_worker_load(self._handle, self.elements, *places, state["eta"], state["step"])


class Server(_Partition):
    """One partition on a server; the same as :class:`~byteps_gc.compressors.reference.ReferenceServer`."""

    kind = "server"

    def __init__(self, compressor, d, mu=None, ef=False, dtype="float32", workers=1, registered=None, isa=None):
        super().__init__(isa, d, dtype, registered)
        self._ef = bool(ef)
        self._open(option_texts(compressor, mu, ef), workers)

    def push(self, frame: Any) -> None:
        """Take a worker's frame; :class:`FrameError` if it is refused, and with it the step."""
        self._accepted(self._library.bgc_server_push(self._handle, address(frame), len(frame), self._why))

    def reply_view(self, absent: int = 0) -> memoryview:
        """End the step: the frame that answers all workers. absent: workers that count as zeros."""
        size = ctypes.c_size_t()
        start = self._library.bgc_server_reply(self._handle, self.elements, absent, ctypes.byref(size))
        return view(start, size.value)

    def reply(self, absent: int = 0) -> bytes:
        """As :meth:`reply_view`, copied."""
        return bytes(self.reply_view(absent))

    def add(self, frame: Any, out: np.ndarray) -> None:
        """Add one frame's values to ``out``, float32 of shape (d,)."""
        code = self._library.bgc_server_add(
            self._handle, address(frame), len(frame), self.elements, address(out), self._why
        )
        self._accepted(code)

    def state(self) -> Dict[str, Any]:
        """Step, rate of the residual and residual (None where the reply loses nothing)."""
        residual = np.zeros(self.elements, np.float32) if self._ef else None
        eta, step = ctypes.c_float(), ctypes.c_uint32()
        place = None if residual is None else address(residual)
        self._library.bgc_server_save(self._handle, self.elements, place, ctypes.byref(eta), ctypes.byref(step))
        return {"step": step.value, "eta": eta.value, "residual": residual}

    def load_state(self, state: Dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken."""
        residual = state["residual"]
        kept = None if residual is None else np.ascontiguousarray(residual, np.float32)
        place = None if kept is None else address(kept)
        self._library.bgc_server_load(self._handle, self.elements, place, state["eta"], state["step"])


def register(role: str) -> None:
    """Put the compressors into the registry of the BytePS library that this process has loaded for all; once.

    role: "worker" or "server". Raises :class:`CompressionError` if that BytePS has no such registry.
    """
    why = ctypes.create_string_buffer(WHY)
    if not library().bgc_register(role == "server", why):
        raise CompressionError(why.value.decode())


def start(workers: int, worker: int = 0) -> None:
    """BytePS starts, perhaps anew: how many workers there are and, on a worker, which one this is."""
    library().bgc_start(workers, worker)


def before(skipped: bool, reset: bool) -> int:
    """What becomes of a compressor's state before a step, as the library numbers it."""
    return 2 if reset else int(skipped)


def check_rate(rate: float) -> None:
    """:class:`CompressionError` for a learning rate that no frame can have."""
    if not 0 <= rate < RATE_LIMIT:
        raise CompressionError(f"learning rate {rate!r} is not a finite float32 of at least 0")


def refusals(isa: Optional[str] = None) -> Dict[int, str]:
    """The library's codes of refusals, each with "NAME text"."""
    text, found = ctypes.create_string_buffer(WHY), {}
    for code in range(256):
        library(isa).bgc_refusal(code, text)
        if text.value:
            found[code] = text.value.decode()
    return found


class Tensor:
    """One tensor that this worker declares with our compressors: what its next exchange uses, and how the last went.

    name: as declared to BytePS, in the ``tensor`` option. number: the library's.
    """

    def __init__(self, name: str):
        self.number: int = library().bgc_tensor(name.encode())
        self._why = ctypes.create_string_buffer(WHY)

    def step(self, rate: float, skipped: bool = False, reset: bool = False, factor: float = 1.0) -> None:
        """Set the learning rate and the factor that the next exchange uses.

        skipped: all workers skipped the step of the last exchange, which is taken back. reset: momentum and residuals
        start from zero, on workers and servers. factor: what the gradient is multiplied by first, as float32.
        """
        check_rate(rate)
        library().bgc_step(self.number, rate, before(skipped, reset), factor)

    def outcome(self) -> Tuple[bool, str]:
        """Return whether all values of the last exchange are finite, and why a reply was refused, or empty."""
        found = library().bgc_outcome(self.number, self._why)
        return found == 0, self._why.value.decode(errors="replace") if found == 2 else ""

    def steps(self) -> int:
        """Return how many exchanges of this tensor there have been, those without this worker included."""
        return library().bgc_steps(self.number)

    def pass_over(self, steps: int) -> None:
        """Note that there have been this many exchanges, some without this worker; its next frame is of the next."""
        library().bgc_pass_over(self.number, steps)


def checksum(data: np.ndarray) -> int:
    """Return the CRC-32C of an array's bytes (n,) uint8."""
    return library().bgc_checksum(data.ctypes.data, data.size)


def registered() -> int:
    """How many partitions BytePS has registered here since the last call."""
    return library().bgc_registered()
