"""Push and pull of MXNet arrays through BytePS's operation in MXNet's engine, with every call checked first."""

import ctypes
from typing import Any, Optional

import byteps.mxnet.ops as engine
from byteps_gc.core.exchange import DTYPES, next_name, prepare
from byteps_gc.errors import ExchangeError
import mxnet as mx
from mxnet.base import check_call
import numpy as np


def added(name: str) -> Optional[Any]:
    """Return a function that we added to the engine; None if the engine is stock BytePS."""
    return getattr(engine.MXNET_LIB_CTYPES, name, None)


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
    name = next_name("push_pull", name)
    if not isinstance(tensor, mx.nd.NDArray):
        raise ExchangeError(f"{name}: push_pull takes an MXNet NDArray, not {type(tensor).__name__}")
    kind = np.dtype(tensor.dtype)
    dtype = kind.name
    if dtype not in DTYPES or tensor.stype != "default" or tensor.size == 0:
        raise ExchangeError(
            f"{name}: cannot exchange an array of shape {tensor.shape}, dtype {dtype} and storage type {tensor.stype};"
            f" push_pull takes non-empty dense arrays of {', '.join(DTYPES)}"
        )
    prepare(name, tensor.shape, dtype, "mxnet")
    engine.byteps_push_pull(tensor, version=version, priority=priority, name=name, is_average=is_average)


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
