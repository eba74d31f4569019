"""Push, pull and broadcast of MXNet arrays through BytePS, with every call checked first."""

import contextlib
import ctypes
import os
import sys
import threading
from typing import Any, Dict, Iterator, Mapping, Optional, Set, Tuple

import byteps.mxnet.ops as engine
from byteps_gc import env, native
from byteps_gc.clock import PollingClock
from byteps_gc.compressors import engine_keys
from byteps_gc.errors import UserError
import mxnet as mx
from mxnet.base import check_call
import numpy as np

DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64")
# a key of the engine is a number of 32 bits: 15 for the tensor and 16 for its partition
MOST_TENSORS = 1 << 15
MOST_PARTITIONS = 1 << 16

_declared: Dict[str, Tuple[int, Dict[str, str]]] = {}  # bytes and options of each tensor, in order
_shapes: Dict[str, Tuple[tuple, str]] = {}
_unnamed = 0  # calls without a name
_trainers = 0
_running = False
_threshold = 0  # bytes as float32 from which a gradient is compressed
_unregistered: Set[str] = set()  # declared with compression, not exchanged yet


class ExchangeError(UserError, ValueError):
    """A call that the engine would answer with an abort of the process."""


def started(running: bool, threshold: int = 0) -> None:
    """Note that BytePS runs in this process, or no longer does; what was declared is forgotten.

    threshold: the size in bytes, as float32, from which gradients are compressed.
    """
    global _running, _threshold, _unnamed, _trainers
    _running = running
    _threshold = threshold
    _unnamed = _trainers = 0
    _declared.clear()
    _shapes.clear()
    _unregistered.clear()


def is_started() -> bool:
    """Whether BytePS runs in this process."""
    return _running


def threshold() -> int:
    """Bytes, as float32, from which a gradient is compressed: BYTEPS_MIN_COMPRESS_BYTES when BytePS started."""
    return _threshold


def require_started() -> None:
    """:class:`ExchangeError` unless BytePS runs in this process."""
    if not _running:
        raise ExchangeError("BytePS is not running in this process; call bps.init() first")


def next_trainer() -> str:
    """What the names of one more trainer's tensors begin with: nothing for the first since BytePS started."""
    global _trainers
    _trainers += 1
    return f"trainer_{_trainers - 1}." if _trainers > 1 else ""


def added(name: str) -> Optional[Any]:
    """A function that we added to the engine; None where the engine is the one as released."""
    return getattr(engine.MXNET_LIB_CTYPES, name, None)


def declare(name: str, nbytes: int = 0, label: str = "", **options: str) -> None:
    """Announce a tensor. All workers declare the same names in the same order.

    nbytes: of the arrays that will be exchanged under this name; by it the tensor's parts are spread over the servers,
    without it by a hash of the name's number.
    label: what messages call it besides its name, such as a parameter's name; it may differ between workers.
    ``options`` are the engine's compression keys (see :mod:`byteps_gc.compressors.engine_keys`);
    a name that is declared already keeps what it was declared with.
    """
    require_started()
    registered = options.get("byteps_compressor_type", engine_keys.REGISTERED)
    if registered != engine_keys.REGISTERED:
        raise ExchangeError(
            f"{name}: byteps_compressor_type={registered} is not {engine_keys.REGISTERED};"
            " see byteps_gc.compressors.engine_keys"
        )
    if name not in _declared:
        require_keys(name, nbytes)
        engine.byteps_declare_tensor(name, **options)
        place = added("byteps_gc_place")
        if nbytes and place:
            place(name.encode(), ctypes.c_uint64(nbytes))
        if label and added("byteps_gc_label"):
            added("byteps_gc_label")(name.encode(), label.encode())
        _declared[name] = (nbytes, dict(options))
        if options:
            _unregistered.add(name)


def require_keys(name: str, nbytes: int) -> None:
    """:class:`ExchangeError` if the engine has no keys left for one more tensor of this size."""
    if len(_declared) >= MOST_TENSORS:
        raise ExchangeError(
            f"{name}: {MOST_TENSORS} tensors have been exchanged already; give arrays that are exchanged again and"
            " again a name, so that each is declared once"
        )
    partition = env.partition_bytes()
    if nbytes > MOST_PARTITIONS * partition:
        raise ExchangeError(
            f"{name}: {nbytes} bytes are more than {MOST_PARTITIONS} partitions of BYTEPS_PARTITION_BYTES={partition};"
            " increase it"
        )


def declarations() -> Dict[str, Any]:
    """Return what this worker has declared so far, in a form for :func:`declare_missed`: equal on all workers."""
    tensors = [[name, nbytes, options] for name, (nbytes, options) in _declared.items()]
    return {"tensors": tensors, "unnamed": _unnamed}


def declare_missed(others: Mapping[str, Any]) -> None:
    """Declare what another worker has declared after this one's tensors; :class:`ExchangeError` if these differ."""
    global _unnamed
    for mine, (name, _, _) in zip(_declared, others["tensors"]):
        if mine != name:
            raise ExchangeError(
                f"this worker declared {mine} where another one declared {name}: all workers must declare the same"
                " tensors in the same order"
            )
    for name, nbytes, options in others["tensors"][len(_declared) :]:
        declare(name, nbytes, **options)
    _unnamed = max(_unnamed, others["unnamed"])


def push_pull(
    tensor: "mx.nd.NDArray",
    version: int = 0,
    priority: int = 0,
    name: Optional[str] = None,
    is_average: bool = True,
) -> None:
    """Replace ``tensor`` by its sum over all workers, or by the mean with ``is_average``.

    tensor: any shape but empty; dtype one of float16, float32, float64, uint8,
        int8, int32, int64. The call returns at once; MXNet waits when the array
        is read.
    priority: a larger one goes first, where BYTEPS_SCHEDULING_CREDIT is set.
    name: the same on all workers; one name has one shape and dtype for good.
        Arrays that are exchanged under one name take turns, in the order of the
        calls, which is the same on all workers. Without a name, unnamed calls are
        matched in the order in which they are made.

    Raises :class:`ExchangeError` for an array that the engine cannot take.
    """
    global _unnamed
    if name is None:
        name, _unnamed = f"push_pull.{_unnamed}", _unnamed + 1
    if not isinstance(tensor, mx.nd.NDArray):
        raise ExchangeError(f"{name}: push_pull takes an MXNet NDArray, not {type(tensor).__name__}")
    kind = np.dtype(tensor.dtype)
    dtype = kind.name
    if dtype not in DTYPES or tensor.stype != "default" or tensor.size == 0:
        raise ExchangeError(
            f"{name}: cannot exchange an array of shape {tensor.shape}, dtype {dtype} and storage type {tensor.stype};"
            f" push_pull takes non-empty dense arrays of {', '.join(DTYPES)}"
        )
    shape = (tensor.shape, dtype)
    if _shapes.setdefault(name, shape) != shape:
        before, now = (f"shape {one[0]} and dtype {one[1]}" for one in (_shapes[name], shape))
        raise ExchangeError(f"{name} has {now}, but was exchanged with {before} before; use another name")
    declare(name, tensor.size * kind.itemsize)
    with registration(name) if name in _unregistered else contextlib.nullcontext():
        engine.byteps_push_pull(tensor, version=version, priority=priority, name=name, is_average=is_average)
    _unregistered.discard(name)


def push_pull_again(tensor: "mx.nd.NDArray", name: str, priority: int) -> None:
    """:func:`push_pull` of an array that has been summed under this name before, without looking at it again."""
    engine.byteps_push_pull(tensor, priority=priority, name=name, is_average=False)


def classic(tensor: "mx.nd.NDArray") -> "mx.nd.NDArray":
    """Return the array as operators of ``mx.nd`` take it: an ``mx.np`` array's own memory, anything else as it is."""
    return tensor.as_nd_ndarray() if isinstance(tensor, mx.np.ndarray) else tensor


def scale(tensor: "mx.nd.NDArray", factor: float) -> None:
    """Multiply a float32 or float64 array by ``factor``, in place; returns at once.

    In host memory it is multiplied as soon as it has been computed. MXNet's own operator shares temporary space with
    backward and waits for backward's end, and so would the exchange.
    """
    here = added("byteps_gc_scale") if tensor.context.device_type.startswith("cpu") else None
    if here:
        check_call(here(tensor.handle, ctypes.c_double(factor)))
    else:
        tensor *= factor


def memory(tensor: "mx.nd.NDArray") -> np.ndarray:
    """Return what an array holds as bytes (n,) uint8: its own memory where that is the host's, for reading only.

    Waits for the array. The result is valid as long as the array is and nothing writes to it.
    """
    if not tensor.context.device_type.startswith("cpu"):
        return tensor.asnumpy().reshape(-1).view(np.uint8)
    start = ctypes.c_void_p()
    tensor.wait_to_read()
    check_call(mx.base._LIB.MXNDArrayGetData(tensor.handle, ctypes.byref(start)))
    size = tensor.size * np.dtype(tensor.dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(start.value), np.uint8)


def make_plain(tensor: "mx.nd.NDArray") -> None:
    """Bring an array to the plain layout, when its turn comes; returns at once.

    On a CPU a forward pass outside ``autograd.record()`` leaves convolution weights in a blocked layout, from some
    moment on. An operator that writes where it reads gets a copy of such an array to read.
    """
    reorder = added("byteps_gc_plain")
    if reorder:
        check_call(reorder(tensor.handle))


@contextlib.contextmanager
def registration(name: str) -> Iterator[None]:
    """End the process with one line if servers do not answer the registration that the body makes.

    A server without our compressors cannot answer it. The time (seconds,
    BYTEPS_GC_REGISTRATION_TIMEOUT) counts from when all workers have announced
    the tensor.
    """
    limit = env.integer("BYTEPS_GC_REGISTRATION_TIMEOUT")
    done = threading.Event()

    def watch() -> None:
        clock, announced = PollingClock(), None
        while not done.wait(0.1):
            now = clock.seconds()
            if native.registered():
                announced = now
            if announced is not None and now - announced > limit:
                print(
                    f"byteps_gc: {name}: a server has not answered within {limit} s; for compression, start all"
                    " servers with python -m byteps_gc server of the same version",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)

    native.registered()  # what came before does not count
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def total(values: Any, name: str, dtype: str = "float64", priority: int = 0) -> np.ndarray:
    """Return the sum over all workers of each of ``values``, of their shape."""
    tensor = mx.nd.array(values, dtype=dtype)
    push_pull(tensor, priority=priority, name=name, is_average=False)
    return tensor.asnumpy()
