"""A model's gradients on their way: what DistributedOptimizer and the DDP hook have in common."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple
import warnings

from byteps_gc.compressors.settings import Settings
from byteps_gc.core import agreement, engine, exchange, gradients, session
from byteps_gc.core.routes import Route, routes
from byteps_gc.errors import ExchangeError
from byteps_gc.torch import lanes, local, momentum, tensors, transports
from byteps_gc.torch.completion import Done, completions
from byteps_gc.torch.process import FRONT_END
import torch


@dataclass(eq=False)
class Gradient:
    """The gradient of one parameter.

    number: of the engine's tensor. source: the tensor that is replaced by the mean. memory: what is exchanged, which is
    the source itself where that is possible. host: memory for it that is kept. after: what the sum is multiplied by.
    mu: coefficient of the momentum in front of the compressor, or 0. good: whether its last sum is finite, or may be
    without compression.
    """

    parameter: torch.Tensor
    name: str
    route: Route
    number: int = 0
    source: Optional[torch.Tensor] = None
    memory: Optional[torch.Tensor] = None
    host: Optional[torch.Tensor] = None
    after: float = 1.0
    mu: float = 0.0
    good: bool = True


class Gradients:
    """Gradients of some parameters, which all workers exchange under the same names.

    named: parameters with their names, in the order that all workers have. settings: how they travel. optimizer: knows
    their learning rates, or None. scaler: the GradScaler that scales the loss, or None. flat: gradients are exchanged
    as one-dimensional memory in the parameter's order of elements, as DDP's buckets have them. local_reduce: see
    :func:`local.find_group`.
    """

    def __init__(
        self,
        named: Sequence[Tuple[str, torch.Tensor]],
        settings: Settings,
        optimizer: Optional[torch.optim.Optimizer],
        scaler: Any = None,
        flat: bool = False,
        local_reduce: Optional[bool] = None,
    ):
        self._state = session.state()
        self.settings, self._optimizer, self._scaler = settings, optimizer, scaler
        self.compresses = settings.compressor is not None or bool(settings.narrow())
        self.skipped_steps = 0
        self._scale = 1.0
        if not named:
            raise ExchangeError("there is no parameter with requires_grad=True: there is nothing to exchange")
        for name, parameter in named:
            require_parameter(parameter, name)
        self.scope = self._state.next_scope()
        self.each = [
            Gradient(parameter, name, route) for (name, parameter), route in zip(named, routes(self.scope, len(named)))
        ]
        mus = momentum.take_over(optimizer) if settings.momentum else {}
        for one in self.each:
            one.mu = mus.get(id(one.parameter), 0.0)
        self._by_parameter = {id(one.parameter): one for one in self.each}
        self._groups = self._find_groups()
        device = one_device(named)
        agreement.same_structure(
            self._described(local_reduce), [self._row(one) for one in self.each], f"{self.scope}agreement.structure"
        )
        self._transport = self._choose(device, local.find_group(device, local_reduce, f"{self.scope}places"), flat)
        for one in self.each:
            self._prepare(one)
        advice = settings.advice()
        if advice and session.rank() == 0:
            warnings.warn(advice, stacklevel=4)

    def of(self, parameter: torch.Tensor) -> Gradient:
        """Return a parameter's gradient; :class:`ExchangeError` for one that is not among them."""
        found = self._by_parameter.get(id(parameter))
        if found is None:
            shape = tuple(parameter.shape)
            raise ExchangeError(
                f"a parameter of shape {shape} is not exchanged: it was frozen, or added, after the hook or"
                " DistributedOptimizer was made; make a new one"
            )
        return found

    def __contains__(self, parameter: torch.Tensor) -> bool:
        return id(parameter) in self._by_parameter

    def elements(self, one: Gradient) -> int:
        """Return how many elements of a gradient this worker exchanges: all, or those of a shard."""
        return self._transport.elements(one.parameter.numel())

    @property
    def shards(self) -> int:
        """Into how many shards a gradient is cut: the local ranks that reduce it first, or 1."""
        return self._transport.shards

    def open_step(self) -> None:
        """Begin a step: note by what the loss is scaled."""
        if session.state() is not self._state:
            raise ExchangeError("BytePS has been restarted since these gradients were declared; make a new object")
        enabled = self._scaler is not None and self._scaler.is_enabled()
        self._scale = float(self._scaler.get_scale()) if enabled else 1.0

    def begin(self, place: int, batch: Sequence[Tuple[Gradient, torch.Tensor]], keep: Any, done: Done) -> None:
        """Begin to exchange gradients together; ``done`` is called in another thread.

        place: how many of the step's gradients come before them, on all workers. batch: gradients, each with the tensor
        that is replaced by the mean in :meth:`finish`. keep: stays alive.
        """
        for one, source in batch:
            one.source = source
            one.memory = one.route.total = self._transport.memory(one, source)
        items = [self._item(one) for one, _ in batch]
        owners = (keep, [one.memory for one, _ in batch])
        those = [one for one, _ in batch]
        self._transport.begin(place, those, lambda arrived: completions().exchange(items, owners, arrived), done)

    def finish(self, batch: Sequence[Gradient], then: Optional[Callable[[], None]] = None) -> None:
        """Turn the sums that have arrived into means, where the gradients were.

        then: is called where the means are there: on a GPU, with the stream that writes them as the current one.
        Without it, the current stream waits for them.
        """
        self._transport.finish(batch, then)

    @staticmethod
    def good(batch: Sequence[Gradient]) -> bool:
        """Return whether all sums are finite, if gradients are compressed; the same on all workers."""
        return all(one.good for one in batch)

    def end_step(self, good: bool) -> None:
        """End a step; ``good``: whether it is applied. Otherwise it leaves no trace in momentum and residuals."""
        for one in self.each:
            one.route.skipped = not good
        if not good:
            self.skipped_steps += 1

    def before_step(self) -> None:
        """Add the momentum that no compressor has added, before the optimizer applies the gradients."""
        if self.settings.momentum:
            momentum.apply(self._optimizer, self.each)

    def _find_groups(self) -> Dict[int, int]:
        groups = self._optimizer.param_groups if self._optimizer else ()
        return {id(parameter): index for index, group in enumerate(groups) for parameter in group["params"]}

    def _rate(self, one: Gradient) -> float:
        """Return the learning rate of the coming step; 1 where nothing depends on it."""
        index = self._groups.get(id(one.parameter))
        if not self.settings.ef or index is None:
            return 1.0
        return float(self._optimizer.param_groups[index]["lr"])

    def _choose(self, device: torch.device, group: Optional[local.LocalGroup], flat: bool) -> transports.Direct:
        stream = lanes.stream_for(device)
        if group:
            return transports.Reduced(self._judge, stream or lanes.HostStream(), group, len(self.each))
        return transports.Copied(flat, self._judge, stream) if stream else transports.Direct(flat, self._judge)

    def _judge(self, batch: Sequence[Gradient]) -> bool:
        return not self.compresses or gradients.all_good([one.route for one in batch], _all_finite)

    def _described(self, local_reduce: Optional[bool]) -> Dict[str, Any]:
        """Return what has to be the same on all workers, besides the parameters."""
        return {
            "compression": self.settings.to_params(),
            "grad_scaler": self._scaler is not None,
            "local_reduce": local_reduce,
            "BYTEPS_MIN_COMPRESS_BYTES": session.threshold(),
        }

    def _row(self, one: Gradient) -> List[Any]:
        parameter = one.parameter
        strides = "" if parameter.is_contiguous() else f"strides {parameter.stride()} "
        more = strides + (f"momentum {one.mu}" if one.mu else "")
        return [one.name, list(parameter.shape), tensors.dtype_name(parameter.dtype), more, one.name]

    def _prepare(self, one: Gradient) -> None:
        """Declare and register a gradient, now, in the order that all workers have.

        Of its shards, every worker declares all and registers its own.
        """
        elements, dtype = self.elements(one), tensors.dtype_name(tensors.SUMMED[one.parameter.dtype])
        name, shards = one.route.gradient, self._transport.shards
        for number in range(shards):
            own = number == self._transport.shard
            route = one.route if own else Route(one.route.index, one.route.parameter, name)
            label = one.name
            if shards > 1:
                route.gradient, label = f"{name}.shard_{number}", f"{one.name}, shard {number + 1} of {shards}"
            gradients.declare(route, self.settings, one.mu, elements, dtype, label, self._transport.workers)
        dtype = "float32" if one.route.encoded else dtype
        one.number = exchange.prepare(one.route.gradient, (elements,), dtype, FRONT_END).number

    def _item(self, one: Gradient) -> engine.Exchange:
        workers, route = session.size(), one.route
        # what a compressor keeps is in the unit of gradients of the loss as it is, whatever the scaler's factor is
        keeps = self.settings.ef or self.settings.momentum
        unit = self._scale if route.encoded and keeps else 1.0
        one.after = unit if route.encoded else 1.0 / workers
        step = route.step(self._rate(one), 1.0 / (workers * unit))
        return engine.Exchange(one.number, one.memory.data_ptr(), -route.index, step)


def one_device(named: Sequence[Tuple[str, torch.Tensor]]) -> torch.device:
    """Return the device of all parameters; :class:`ExchangeError` if there are several."""
    first, device = named[0][0], named[0][1].device
    for name, parameter in named:
        if parameter.device != device:
            raise ExchangeError(f"{name} is on {parameter.device}, and {first} on {device}: use one device per process")
    return device


def require_parameter(parameter: Any, name: str) -> None:
    """:class:`ExchangeError` for what is no parameter, or one whose gradient cannot be exchanged."""
    tensors.require(parameter, name)
    sharded = type(parameter).__name__ == "DTensor"
    if sharded or hasattr(parameter, "_is_flat_param") or hasattr(parameter, "_fsdp_flattened"):
        raise ExchangeError(f"{name} is sharded: FSDP is not supported; use DistributedDataParallel or none")
    if not parameter.is_floating_point():
        raise ExchangeError(f"{name} has dtype {tensors.dtype_name(parameter.dtype)}; accepted: real floating-point")


def require_dense(gradient: torch.Tensor, name: str) -> None:
    """:class:`ExchangeError` for a sparse gradient."""
    if gradient.layout is not torch.strided:
        raise ExchangeError(f"{name} has a sparse gradient, which is not supported; pass sparse=False to the layer")


def _all_finite(memories: List[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in memories)
