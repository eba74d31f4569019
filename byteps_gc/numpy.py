"""BytePS for NumPy arrays, with compression that works: ``import byteps_gc.numpy as bps``.

For simulations, other frameworks' arrays in host memory, tests and tools. The names are those of BytePS and Horovod:
init, shutdown, rank, size, local_rank, local_size, push_pull and broadcast. :class:`Exchange` sums the gradients of a
model, compressed. No framework is needed::

    bps.init()
    gradients = {"weight": np.zeros((784, 10), np.float32), "bias": np.zeros(10, np.float32)}
    exchange = bps.Exchange(gradients, {"compressor": "onebit", "ef": "vanilla"})
    for data, label in batches:
        compute(gradients, data, label)          # writes to the arrays
        if exchange.push_pull(learning_rate):    # now they hold the means over all workers
            apply(gradients, learning_rate)

Start the workers with ``python -m byteps_gc launch``. A process that fails, with an exception or ``sys.exit(status)``,
ends at once instead of waiting for workers that wait for it. Ctrl-C interrupts every wait.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union
import warnings

from byteps_gc import native
from byteps_gc.compressors.settings import Settings
from byteps_gc.core import agreement, engine, gradients, saved, session
from byteps_gc.core import broadcast as broadcasting
from byteps_gc.core import exchange as exchanging
from byteps_gc.core.exchange import Handle
from byteps_gc.core.routes import Route, Scaling, routes
from byteps_gc.core.session import local_rank, local_size, rank, received_bytes, sent_bytes, shutdown, size
from byteps_gc.errors import CompressionError, ExchangeError
import numpy as np

__all__ = [
    "Exchange",
    "ExchangeError",
    "Handle",
    "broadcast",
    "init",
    "local_rank",
    "local_size",
    "push_pull",
    "push_pull_async",
    "rank",
    "received_bytes",
    "sent_bytes",
    "shutdown",
    "size",
]

FRONT_END = "numpy"


def init() -> None:
    """Start BytePS in this process and connect to the cluster; a second call does nothing.

    The cluster is described by the environment, which ``python -m byteps_gc launch`` sets; without it, this process is
    alone. Raises :class:`SettingsError` for a variable that is missing or wrong, :class:`EngineError` if BytePS is not
    installed, and :class:`ExchangeError` after :func:`shutdown` of a cluster, which does not take workers back.
    """
    session.start(lazy=False)


def push_pull_async(array: np.ndarray, name: Optional[str] = None, average: bool = True, priority: int = 0) -> Handle:
    """Begin :func:`push_pull` and return its :class:`Handle`.

    priority: an exchange with a larger one is sent first, where BYTEPS_SCHEDULING_CREDIT is set.
    """
    name = exchanging.next_name("push_pull", name)
    _require_array(array, name, exchanging.DTYPES)
    if average and array.dtype.kind != "f":
        raise ExchangeError(f"{name}: cannot average {array.dtype.name}; pass average=False and divide the sum")
    ticket, workers = exchanging.begin(array, name, FRONT_END, priority), size() if average else 1

    def finish() -> None:
        if workers != 1:
            np.divide(array, workers, out=array)

    return Handle(ticket, array, finish)


def push_pull(array: np.ndarray, name: Optional[str] = None, average: bool = True, priority: int = 0) -> np.ndarray:
    """Replace an array by its mean over all workers, or by its sum with ``average=False``; return the array.

    array: any shape but empty; writable and C-contiguous; dtype float16, float32, float64, uint8, int8, int32 or
        int64. Sums are computed in the array's dtype, in the order in which workers' arrays arrive; means only of
        floating-point arrays.
    name: the same on all workers; one name has one shape and dtype for good. Calls without a name are matched in the
        order in which they are made.

    The call returns when all workers have made it. Raises :class:`ExchangeError` for an array that cannot be exchanged,
    and while another exchange of this name is under way.
    """
    return push_pull_async(array, name, average, priority).wait()


def broadcast(
    value: Union[np.ndarray, bytes, None], root_rank: int = 0, name: Optional[str] = None
) -> Union[np.ndarray, bytes]:
    """Give every worker the array or the bytes of ``root_rank``; return them.

    value: an array of any dtype but object, of the same shape and dtype on all workers, writable and C-contiguous:
        it is replaced in place, bit for bit. Or bytes of any length; the other workers may pass None for them.
    name: as for :func:`push_pull`.

    The call returns when all workers have made it. Raises :class:`ExchangeError` for a value that cannot be sent, or a
    rank that does not exist.
    """
    name = exchanging.next_name("broadcast", name)
    if value is None or isinstance(value, (bytes, bytearray, memoryview)):
        return broadcasting.broadcast_bytes(None if value is None else bytes(value), f"{name}.bytes", root_rank)
    _require_array(value, name)
    broadcasting.require_root(root_rank)
    broadcasting.broadcast_array(value, f"{name}.array", root_rank)
    return value


class Exchange:
    """Replaces gradients by their means over all workers, compressed, with error feedback and momentum.

    gradients: mapping from names to arrays, or a sequence of arrays: float32, not empty, writable, C-contiguous, no two
        of which share memory. The same names, shapes and order on all workers. The arrays stay in use: write each
        step's gradients to them.
    compression_params: BytePS's dict, as for :class:`byteps_gc.mxnet.DistributedTrainer` (see
        :meth:`Settings.from_params`), or :class:`~byteps_gc.compressors.settings.Settings`. Without a compressor,
        gradients travel as they are. Gradients of fewer than BYTEPS_MIN_COMPRESS_BYTES bytes are not compressed.
    momentum: the coefficient mu, with ``momentum="nesterov"`` in ``compression_params``: what arrives is then the mean
        of g + M for the momentum M <- mu (M + g), taken before compression (arXiv 1905.10936) or, for gradients that
        are not compressed, after the sum. Apply it with plain gradient descent.
    average: replace gradients by their mean; False: by their sum.

    With ``ef="vanilla"``, what compression lost, e, is added to the next gradient: g <- g + (r' / r) e for the learning
    rates r of this step and r' of the step before (arXiv 1905.10936), on workers and servers.

    skipped_steps: how many steps were not finite. All workers make their exchanges in the same order and call the same
    methods. Raises :class:`CompressionError` for settings that cannot work, and :class:`ExchangeError` for arrays that
    cannot be exchanged, or that differ between workers.
    """

    def __init__(
        self,
        gradients: Union[Mapping[str, np.ndarray], Sequence[np.ndarray]],
        compression_params: Union[Mapping[str, Any], Settings, None] = None,
        momentum: float = 0.0,
        average: bool = True,
    ):
        self._state = session.state()
        params = compression_params
        self.settings = params if isinstance(params, Settings) else Settings.from_params(params)
        self._mu = _coefficient(momentum, self.settings)
        self._arrays = _named(gradients)
        self._average = average
        self.skipped_steps = 0
        scope = self._state.next_scope()
        self._routes = routes(scope, len(self._arrays))
        self._scaling = Scaling(size(), local_size())
        self._scaling.agree(1.0, 1.0)
        rows = [agreement.row(name, one.shape, one.dtype, "", name) for name, one in self._arrays.items()]
        agreement.same_structure(self._described(), rows, f"{scope}agreement.structure", "gradient")
        self._tensors = [self._prepare(route, *item) for route, item in zip(self._routes, self._arrays.items())]
        advice = self.settings.advice()
        if advice and rank() == 0:
            warnings.warn(advice, stacklevel=2)

    def push_pull(self, learning_rate: float = 1.0) -> bool:
        """Exchange all gradients, in place, and return whether they can be applied.

        learning_rate: of the step that applies them, the same on all workers: a finite number of at least 0.

        A step in which a gradient of some worker is not finite is to be skipped: all workers get False, a warning is
        printed, and momentum and error feedback stay as they were. The arrays then hold nothing of use.
        """
        if session.state() is not self._state:
            raise ExchangeError("BytePS has been restarted since this Exchange was made; make a new one")
        native.check_rate(learning_rate)
        pairs = list(zip(self._routes, self._tensors))
        engine.wait(engine.exchange([self._item(*pair, learning_rate) for pair in pairs], self))
        good = gradients.all_good(self._routes, _all_finite)
        for route in self._routes:
            route.skipped = not good
            if good:
                self._finish(route)
        if not good:
            self.skipped_steps += 1
            gradients.warn_of_skipped(self.skipped_steps, stacklevel=2)
        return good

    def state_dict(self) -> Dict[str, Any]:
        """Return a copy of this worker's error feedback, momentum and step counters. Servers' state is not saved."""
        state = saved.state_of(self.settings, self._routes_by_name(), self.skipped_steps)
        return {**state, "momentum": {name: one.copy() for name, one in state["momentum"].items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken, with the same gradients and settings; all workers do.

        A state of another worker, or of another number of workers, gives the momentum of uncompressed gradients and the
        step counters only, with a warning. Raises :class:`ExchangeError` for the state of other gradients or settings.
        """
        by_name = self._routes_by_name()
        mine = [name for name, one in by_name.items() if one.momentum is not None]
        saved.require_same("gradients with momentum of their own", sorted(state["momentum"]), sorted(mine))
        saved.load(self.settings, by_name, state, stacklevel=2)
        for name, momentum in state["momentum"].items():
            by_name[name].momentum = momentum.copy()
        self.skipped_steps = state["skipped_steps"]

    def _routes_by_name(self) -> Dict[str, Route]:
        return dict(zip(self._arrays, self._routes))

    def _described(self) -> Dict[str, Any]:
        """Return what has to be the same on all workers, besides the arrays."""
        return {
            "compression": self.settings.to_params(),
            "momentum": self._mu,
            "average": self._average,
            "BYTEPS_MIN_COMPRESS_BYTES": session.threshold(),
        }

    def _prepare(self, route: Route, name: str, array: np.ndarray) -> int:
        """Declare and register a gradient, now, in the order that all workers have; return its number."""
        gradients.declare(route, self.settings, self._mu, array.size, array.dtype, name)
        route.array = route.total = array
        if self._mu and not route.with_momentum:
            route.momentum = np.zeros_like(array)
        return exchanging.prepare(route.gradient, array.shape, "float32", FRONT_END).number

    def _factors(self, route: Route) -> Any:
        # the mean is taken inside the compressor, so that its state is in the unit of the mean
        return self._scaling.step(route.encoded, 1.0)

    def _item(self, route: Route, tensor: int, learning_rate: float) -> engine.Exchange:
        factor = self._factors(route).compressor if self._average else 1.0
        return engine.Exchange(tensor, route.array.ctypes.data, -route.index, route.step(learning_rate, factor))

    def _finish(self, route: Route) -> None:
        """Turn a sum into the mean, and add the momentum that no compressor has added."""
        factor = self._factors(route).after if self._average else 1.0
        if factor != 1.0:
            np.multiply(route.array, np.float32(factor), out=route.array)
        if route.momentum is not None:
            route.momentum += route.array
            route.momentum *= np.float32(self._mu)
            route.array += route.momentum


def _coefficient(momentum: float, settings: Settings) -> float:
    """Return the coefficient of momentum, 0 for none; :class:`CompressionError` if it does not fit the settings."""
    if bool(settings.momentum) != bool(momentum) or not 0 <= momentum < 1:
        raise CompressionError(
            f"momentum={momentum!r} with compression_params['momentum']={settings.momentum!r}: pass a coefficient above"
            " 0 and below 1 together with 'nesterov', or neither"
        )
    return float(momentum)


def _named(arrays: Union[Mapping[str, np.ndarray], Sequence[np.ndarray]]) -> Dict[str, np.ndarray]:
    """Return arrays by name, checked: those of a sequence are named by their places."""
    if not isinstance(arrays, Mapping):
        if not isinstance(arrays, (list, tuple)):
            raise ExchangeError(f"gradients is a {type(arrays).__name__}, not a mapping or a sequence of arrays")
        arrays = {f"gradient {index}": one for index, one in enumerate(arrays)}
    if not arrays:
        raise ExchangeError("gradients is empty: there is nothing to exchange")
    found = {str(name): one for name, one in arrays.items()}
    for name, one in found.items():
        _require_array(one, name, ("float32",))
    by_place = sorted((one.ctypes.data, one.nbytes, name) for name, one in found.items())
    for (begin, nbytes, name), (following, _, other) in zip(by_place, by_place[1:]):
        if following < begin + nbytes:
            raise ExchangeError(f"{name} and {other} share memory; give each gradient an array of its own")
    return found


def _require_array(array: Any, name: str, dtypes: Sequence[str] = ()) -> None:
    """:class:`ExchangeError` unless ``array`` can be exchanged in place; dtypes: those accepted, or any."""
    if not isinstance(array, np.ndarray):
        raise ExchangeError(f"{name} is a {type(array).__name__}, not a NumPy array")
    known = array.dtype.isnative and (array.dtype.name in dtypes if dtypes else not array.dtype.hasobject)
    if not known or not array.size:
        accepted = ", ".join(dtypes) or "any dtype but object"
        raise ExchangeError(f"{name} has dtype {array.dtype} and shape {array.shape}; accepted: {accepted}, not empty")
    flags = array.flags
    if not (flags.writeable and flags.c_contiguous and flags.aligned):
        raise ExchangeError(f"{name} is read-only or not C-contiguous; pass a copy, and use what arrives in it")


def _all_finite(arrays: List[np.ndarray]) -> bool:
    return all(bool(np.isfinite(one).all()) for one in arrays)
