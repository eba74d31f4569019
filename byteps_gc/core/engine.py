"""The binding to the worker's engine (``engine/files/core_api.h``): the only user of ctypes besides ``native``.

Arrays are passed by their addresses. Their owners are kept alive until their ticket is done.
"""

import ctypes
from dataclasses import dataclass
import functools
import importlib.util
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple

from byteps_gc import native
from byteps_gc.errors import EngineError, ExchangeError

# numbers of the dtypes that the engine sums (byteps/common/common.h)
DTYPES = {"float16": 2, "float32": 0, "float64": 1, "uint8": 3, "int8": 5, "int32": 4, "int64": 6}
SLICE = 0.2  # seconds that a wait blocks without Python: signals are handled in between
WHY = 512
PREFIX = "byteps_"  # of options of compressors

_kept: Dict[int, Any] = {}  # by ticket: what stays alive until it is done


class _ExchangeOf(ctypes.Structure):
    """``byteps_gc_core_exchange_of``."""

    _fields_ = [
        ("tensor", ctypes.c_int),
        ("priority", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("compressor", ctypes.c_int),
        ("before", ctypes.c_int),
        ("rate", ctypes.c_float),
        ("factor", ctypes.c_float),
    ]


_TEXT = ctypes.c_char_p
_FUNCTIONS: Dict[str, Tuple[Any, Sequence[Any]]] = {
    "open": (None, ()),
    "connect": (ctypes.c_uint64, (_TEXT, ctypes.c_size_t)),
    "close": (None, ()),
    "stop": (ctypes.c_int, (ctypes.c_double,)),
    "declare": (
        ctypes.c_int,
        (
            *(_TEXT, ctypes.c_uint64, ctypes.c_uint64, _TEXT, ctypes.c_int),
            *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, _TEXT, ctypes.c_size_t),
        ),
    ),
    "register": (ctypes.c_uint64, (ctypes.c_int, ctypes.c_uint64, ctypes.c_int, _TEXT, ctypes.c_size_t)),
    "wait": (ctypes.c_int, (ctypes.c_uint64, ctypes.c_double, _TEXT, ctypes.c_size_t)),
    "drain": (ctypes.c_int, (ctypes.c_double,)),
    "next": (ctypes.c_uint64, (ctypes.c_double,)),
    "exchange": (ctypes.c_uint64, (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, _TEXT, ctypes.c_size_t)),
}


@dataclass(frozen=True)
class Step:
    """Step state of a compressed tensor, passed with each exchange.

    tensor: the tensor's compressors. rate: learning rate of the step. skipped: all workers skipped the step before,
    which is taken back. reset: momentum and residuals start from zero. factor: what the gradient is multiplied by
    first.
    """

    tensor: native.Tensor
    rate: float
    skipped: bool = False
    reset: bool = False
    factor: float = 1.0


@dataclass(frozen=True)
class Exchange:
    """One array to exchange in place.

    tensor: number of the registered tensor. address: where the array starts. step: for a compressed tensor.
    """

    tensor: int
    address: int
    priority: int = 0
    step: Any = None


def find_library() -> Path:
    """Return the path of the worker's library, without importing a framework; :class:`EngineError` if it is missing."""
    spec = importlib.util.find_spec("byteps")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "core", "c_lib.so")
        if path.is_file():
            return path
    raise EngineError(
        "BytePS's engine is not installed; build its wheel with python -m byteps_gc engine build, and install it"
    )


@functools.lru_cache(maxsize=None)
def library() -> ctypes.CDLL:
    """Load the worker's library once, and register our compressors in it."""
    loaded = ctypes.CDLL(str(find_library()), ctypes.RTLD_GLOBAL)
    native.register("worker")
    return loaded


@functools.lru_cache(maxsize=None)
def _function(name: str) -> Any:
    """Return a function of the surface. A short one keeps Python's lock, so nobody else waits for it."""
    library()
    waits = name in ("wait", "drain", "next", "close", "stop")
    loaded = (ctypes.CDLL if waits else ctypes.PyDLL)(str(find_library()))
    function = getattr(loaded, f"byteps_gc_core_{name}", None)
    if function is None:
        raise EngineError("this BytePS lacks the fix-up core-surface; python -m byteps_gc engine build builds a wheel")
    function.restype, function.argtypes = _FUNCTIONS[name][0], list(_FUNCTIONS[name][1])
    return function


def _checked(name: str, failed: int, *arguments: Any) -> int:
    """Call a function that writes a reason; :class:`ExchangeError` with it if the result is ``failed``."""
    why = ctypes.create_string_buffer(WHY)
    result = _function(name)(*arguments, why, WHY)
    if result == failed:
        raise ExchangeError(why.value.decode(errors="replace"))
    return result


def start() -> None:
    """Start the engine, which connects to the cluster at the first registration, or at :func:`connect`."""
    library().byteps_lazy_init()
    _function("open")()


def connect() -> None:
    """Connect to the cluster, and wait until all processes have. They compare their environments then."""
    wait(_checked("connect", 0))


def close() -> None:
    """End the session: nothing more begins, and waits of all threads return."""
    _function("close")()


def stop() -> None:
    """Leave the cluster and stop the engine; wait for that in slices, so that Ctrl-C interrupts it."""
    close()
    while _function("stop")(SLICE):
        pass
    _kept.clear()


def rank() -> int:
    """Return this process's rank among all processes."""
    return library().byteps_rank()


def size() -> int:
    """Return the number of processes of all workers."""
    return library().byteps_size()


def local_rank() -> int:
    """Return this process's rank among those of its worker."""
    return library().byteps_local_rank()


def local_size() -> int:
    """Return the number of processes of this worker."""
    return library().byteps_local_size()


def sent_bytes() -> int:
    """Return how many bytes this process has sent to scheduler and servers since it connected."""
    return _count("sent")


def received_bytes() -> int:
    """Return how many bytes this process has received from scheduler and servers since it connected."""
    return _count("received")


def _count(which: str) -> int:
    """Return one of the library's counters of bytes."""
    counter = library()[f"byteps_gc_{which}_bytes"]
    counter.restype = ctypes.c_uint64
    return counter()


def declare(
    name: str, nbytes: int, partition: int, label: str, options: Mapping[str, str], workers: int = 0
) -> int:  # fmt: skip
    """Declare a tensor and return its number.

    partition: bytes of its partitions, or 0 for BYTEPS_PARTITION_BYTES. options: of its compressors, with PREFIX.
    workers: how many exchange it, or 0 for all.
    """
    texts = ctypes.c_char_p * len(options)
    keys = texts(*(key[len(PREFIX) :].encode() for key in options))
    values = texts(*(str(value).encode() for value in options.values()))
    count = len(options)
    return _checked("declare", -1, name.encode(), nbytes, partition, label.encode(), workers, count, keys, values)


def register(tensor: int, nbytes: int, dtype: str) -> int:
    """Begin to register a tensor with its servers, after those before it; return the ticket."""
    return _checked("register", 0, tensor, nbytes, DTYPES[dtype])


def exchange(exchanges: Sequence[Exchange], keep: Any, queued: bool = False) -> int:
    """Begin to replace arrays by their sums over all workers; return the ticket.

    keep: owners of the arrays. queued: :func:`next_done` returns the ticket.
    """
    each = (_ExchangeOf * len(exchanges))()
    for one, item in zip(each, exchanges):
        one.tensor, one.priority, one.data, one.compressor = item.tensor, item.priority, item.address, -1
        step = item.step
        if step is not None:
            native.check_rate(step.rate)
            one.compressor, one.before = step.tensor.number, native.before(step.skipped, step.reset)
            one.rate, one.factor = step.rate, step.factor
    ticket = _checked("exchange", 0, len(exchanges), each, queued)
    _kept[ticket] = keep
    return ticket


def poll(ticket: int, seconds: float = 0.0) -> bool:
    """Return whether a ticket is done, after ``seconds`` at most. A ticket that is done is void.

    :class:`ExchangeError` if it has failed.
    """
    try:
        done = _checked("wait", 2, ticket, seconds) == 0
    except ExchangeError:
        _kept.pop(ticket, None)
        raise
    if done:
        _kept.pop(ticket, None)
    return done


def wait(ticket: int) -> None:
    """Wait for a ticket, in slices, so that Ctrl-C interrupts it; :class:`ExchangeError` if it has failed."""
    while not poll(ticket, SLICE):
        pass


def drain() -> None:
    """Wait, in slices, until no registration or exchange is under way."""
    while _function("drain")(SLICE):
        pass


def next_done(seconds: float) -> int:
    """Return the next queued ticket that is done; 0 if there is none within ``seconds``."""
    return _function("next")(seconds)


def join(text: bytes) -> Tuple[int, bytes]:
    """Take part in all exchanges with zeros until all workers have joined; return the last one's rank and text."""
    function = getattr(library(), "byteps_gc_join", None)
    if function is None:
        raise ExchangeError("this BytePS has no join(); python -m byteps_gc engine build builds one that has")
    function.restype = ctypes.c_void_p
    last, length = ctypes.c_int(), ctypes.c_uint64()
    found = function(text, ctypes.c_uint64(len(text)), ctypes.byref(last), ctypes.byref(length))
    return last.value, ctypes.string_at(found, length.value)
