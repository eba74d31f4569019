"""Names of tensors, their declaration and registration, and sums of NumPy arrays. For all front ends alike.

Every call is checked first: the engine would abort the process.
"""

from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from byteps_gc import env, native
from byteps_gc.clock import PollingClock
from byteps_gc.compressors import engine_keys
from byteps_gc.core import engine, session
from byteps_gc.core.state import Tensor
from byteps_gc.errors import ExchangeError
import numpy as np

DTYPES = tuple(engine.DTYPES)
# a key of the engine is a number of 32 bits: 15 for the tensor and 16 for its partition
MOST_TENSORS = 1 << 15
MOST_PARTITIONS = 1 << 16
PARTITIONS = 16  # of a tensor whose values a server adds as they are
LEAST_PARTITION = 1 << 19  # bytes, as many as keep a message's fixed cost small
CODEC, IDENTITY = engine.PREFIX + "codec", "identity"


def declare(name: str, nbytes: int = 0, label: str = "", workers: int = 0, **options: str) -> None:
    """Declare a tensor. All workers declare the same names in the same order.

    nbytes: size in bytes of the arrays that will be exchanged under this name; by it the tensor's partitions are placed
    on the servers, without it by a hash of the tensor's number.
    label: what messages call it besides its name, such as a parameter's name; it may differ between workers.
    workers: how many register and exchange it, or 0 for all; in its sums the others count as zeros.
    ``options`` are the engine's compression keys (see :mod:`byteps_gc.compressors.engine_keys`);
    a name that is declared already keeps what it was declared with.
    """
    tensors = session.state().tensors
    registered = options.get("byteps_compressor_type", engine_keys.REGISTERED)
    if registered != engine_keys.REGISTERED:
        raise ExchangeError(
            f"{name}: byteps_compressor_type={registered} is not {engine_keys.REGISTERED};"
            " see byteps_gc.compressors.engine_keys"
        )
    unknown = [key for key in options if not key.startswith(engine.PREFIX)]
    if unknown:
        raise ExchangeError(f"{name}: unknown option {', '.join(unknown)}; options begin with {engine.PREFIX}")
    if name not in tensors:
        require_keys(name, nbytes)
        number = engine.declare(name, nbytes, partition_bytes(nbytes, options), label, options, workers)
        tensors[name] = Tensor(name, number, nbytes, dict(options))


def partition_bytes(nbytes: int, options: Mapping[str, str]) -> int:
    """Return the size of a tensor's partitions, or 0 for the engine's own.

    A server replies when it has a partition from all workers, so links idle while the last ones of a step travel: the
    more partitions, the shorter. Where a compressor's result depends on the partition, its size stays the same.
    """
    if env.text("BYTEPS_PARTITION_BYTES") or options.get(CODEC, IDENTITY) != IDENTITY:
        return 0
    return min(max(nbytes // PARTITIONS, LEAST_PARTITION), env.partition_bytes())


def require_keys(name: str, nbytes: int) -> None:
    """:class:`ExchangeError` if the engine has no keys left for one more tensor of this size."""
    if len(session.state().tensors) >= MOST_TENSORS:
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
    state = session.state()
    return {
        "tensors": [[one.name, one.nbytes, one.options] for one in state.tensors.values()],
        "unnamed": state.unnamed,
    }


def declare_missed(others: Mapping[str, Any]) -> None:
    """Declare what another worker has declared after this one's tensors; :class:`ExchangeError` if these differ."""
    state = session.state()
    for mine, (name, _, _) in zip(state.tensors, others["tensors"]):
        if mine != name:
            raise ExchangeError(
                f"this worker declared {mine} where another one declared {name}: all workers must declare the same"
                " tensors in the same order"
            )
    for name, nbytes, options in others["tensors"][len(state.tensors) :]:
        declare(name, nbytes, **options)
    state.unnamed = max(state.unnamed, others["unnamed"])


def prepare(name: str, shape: Tuple[int, ...], dtype: str, front_end: str) -> Tensor:
    """Return the tensor for an array of this shape and dtype, declared and registered.

    front_end: its name; a tensor belongs to the first one that exchanges it. :class:`ExchangeError` for another shape
    or dtype than before. The first call for a name waits until all workers have made it; after Ctrl-C it can be
    repeated.
    """
    tensor = session.state().tensors.get(name)
    if tensor is None or tensor.front_end is None:
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        declare(name, nbytes)
        tensor = session.state().tensors[name]
        native.registered()  # what came before does not count
        tensor.registration = engine.register(tensor.number, nbytes, dtype)
        tensor.shape, tensor.dtype, tensor.front_end = shape, dtype, front_end
    if (tensor.shape, tensor.dtype) != (shape, dtype):
        before, now = (f"shape {one[0]} and dtype {one[1]}" for one in ((tensor.shape, tensor.dtype), (shape, dtype)))
        raise ExchangeError(f"{name} has {now}, but was exchanged with {before} before; use another name")
    if tensor.front_end != front_end:
        raise ExchangeError(f"{name} is exchanged by byteps_gc.{tensor.front_end} in this process; use another name")
    if not tensor.registered:
        _await_registration(tensor)
    return tensor


def _await_registration(tensor: Tensor) -> None:
    """Wait until all workers have registered a tensor with its servers.

    :class:`ExchangeError` if a server does not answer the registration of compressors: one without them cannot. The
    time (seconds, BYTEPS_GC_REGISTRATION_TIMEOUT) counts from when all workers have announced the tensor.
    """
    limit = env.integer("BYTEPS_GC_REGISTRATION_TIMEOUT")
    clock, announced = PollingClock(), None
    while not engine.poll(tensor.registration, engine.SLICE):
        now = clock.seconds()
        if native.registered():
            announced = now
        if announced is not None and now - announced > limit:
            raise ExchangeError(
                f"{tensor.name}: a server has not answered within {limit} s; for compression, start all servers with"
                " python -m byteps_gc server of the same version"
            )
    tensor.registered = True


class Handle:
    """An exchange that is under way. Its array stays alive, and must not be used, until it is done.

    result: what :meth:`wait` returns, however often it is called. finish: called once, when the sum has arrived.
    """

    def __init__(self, ticket: int, result: Any, finish: Callable[[], Any]):
        self._ticket = ticket
        self._over = False
        self._result = result
        self._finish = finish

    def done(self) -> bool:
        """Return whether the result has arrived; :class:`ExchangeError` if the exchange has failed."""
        if not self._over and self._poll():
            self._complete()
        return self._over

    def wait(self) -> Any:
        """Wait for the result and return it; :class:`ExchangeError` if the exchange has failed."""
        if not self._over:
            self._await()
            self._complete()
        return self._result

    def _poll(self) -> bool:
        return engine.poll(self._ticket)

    def _await(self) -> None:
        engine.wait(self._ticket)

    def _complete(self) -> None:
        self._over = True
        self._finish()


def begin(array: np.ndarray, name: str, front_end: str, priority: int = 0) -> int:
    """Begin to replace an array by its sum over all workers; return the ticket.

    array: writable, C-contiguous, not empty, of a dtype in DTYPES.
    """
    tensor = prepare(name, array.shape, array.dtype.name, front_end)
    return engine.exchange([engine.Exchange(tensor.number, array.ctypes.data, priority)], array)


def total(values: Any, name: str, dtype: str = "float64", priority: int = 0) -> np.ndarray:
    """Return the sum over all workers of each of ``values``, of their shape."""
    array = np.array(values, dtype)
    engine.wait(begin(array, name, "core", priority))
    return array


def next_name(kind: str, name: Optional[str]) -> str:
    """Return the name, or one for a call without: these are matched in the order in which they are made."""
    return session.state().next_unnamed(kind) if name is None else name
