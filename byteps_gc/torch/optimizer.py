"""DistributedOptimizer: any torch optimizer, with gradients that are exchanged while backward continues."""

import contextlib
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

from byteps_gc.compressors.settings import Settings
from byteps_gc.core import engine, exchange, session
from byteps_gc.core.agreement import FIRST
from byteps_gc.core.gradients import warn_of_skipped
from byteps_gc.errors import ExchangeError
from byteps_gc.torch import saved
from byteps_gc.torch.broadcast import OURS
from byteps_gc.torch.completion import Outcome
from byteps_gc.torch.gradients import Gradient, Gradients, require_dense
from byteps_gc.torch.process import FRONT_END
import numpy as np
import torch

Named = Union[Iterable[Tuple[str, torch.Tensor]], Mapping[str, torch.Tensor], None]


class UnderWay(Outcome):
    """The exchange of one gradient. version: the tensor's, by which changes from outside are noticed."""

    def __init__(self, version: int):
        self.version = version
        super().__init__()


class Exchanger:
    """The steps of one optimizer: which gradients have been computed, are under way, and have arrived."""

    def __init__(self, optimizer: torch.optim.Optimizer, gradients: Gradients, passes: int):
        self.optimizer = optimizer
        self.gradients = gradients
        self.passes = passes
        self.waits = True  # step() synchronizes
        self.good = True  # the last step can be applied
        self.synchronized = False
        self._counts: Dict[int, int] = {}  # backward passes of each gradient, by its index
        self._under_way: Dict[int, UnderWay] = {}
        self._used = np.zeros(len(gradients.each), np.int32)
        for one in gradients.each:
            one.parameter.register_post_accumulate_grad_hook(self._hook_of(one))

    def is_under_way(self) -> bool:
        """Return whether gradients are being exchanged."""
        return bool(self._under_way)

    def _hook_of(self, one: Gradient) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            self._computed(one)

        return hook

    def _computed(self, one: Gradient) -> None:
        """Count a backward pass, and begin to exchange the gradient after the last one."""
        index = one.route.index
        require_dense(one.parameter.grad, one.name)
        self.synchronized = False
        self._counts[index] = self._counts.get(index, 0) + 1
        if self._counts[index] > self.passes:
            raise ExchangeError(
                f"{one.name}: its gradient is under way; call step() after backward_passes_per_step={self.passes}"
                " backward passes"
            )
        if self._counts[index] == self.passes:
            self._begin(one, one.parameter.grad)

    def _begin(self, one: Gradient, gradient: torch.Tensor) -> None:
        if not self._under_way:
            self.gradients.open_step()
        gradient = gradient.detach()
        work = self._under_way[one.route.index] = UnderWay(gradient._version)
        place = len(self.gradients.each) - 1 - one.route.index  # about the order of backward
        self.gradients.begin(place, [(one, gradient)], gradient, work.done)

    def synchronize(self) -> None:
        """Exchange what has not been exchanged yet, and wait for all means."""
        unused = self._begin_rest()
        self._used[:] = [self._counts.get(one.route.index, 0) > 0 for one in self.gradients.each]
        ticket = exchange.begin(self._used, f"{self.gradients.scope}used", FRONT_END, FIRST)
        self._wait()
        engine.wait(ticket)
        used = [one for one in self.gradients.each if self._used[one.route.index]]
        others = [one for one in self.gradients.each if not self._used[one.route.index]]
        self.good = self.gradients.good(used)
        self.gradients.end_step(self.good)
        for one in others:  # used by no worker: as if they had not been exchanged
            one.route.skipped = True
        self.gradients.finish(used)
        for one in used:
            if one.route.index in unused:
                one.parameter.grad = unused[one.route.index]
        self._counts.clear()
        self.synchronized = True

    def _begin_rest(self) -> Dict[int, torch.Tensor]:
        """Begin what backward has not begun. Return copies for parameters that it has not used, by their index."""
        unused: Dict[int, torch.Tensor] = {}
        for one in self.gradients.each:
            index, gradient = one.route.index, one.parameter.grad
            if index in self._under_way:
                self._require_untouched(one)
                continue
            if index not in self._counts:
                zeros = gradient is None
                gradient = torch.zeros_like(one.parameter) if zeros else gradient.detach().clone()
                unused[index] = gradient
            require_dense(gradient, one.name)
            self._begin(one, gradient)
        return unused

    def _require_untouched(self, one: Gradient) -> None:
        gradient, version = one.parameter.grad, self._under_way[one.route.index].version
        if gradient is None or gradient._version != version:
            raise ExchangeError(
                f"{one.name}: its gradient was changed while it was under way; call optimizer.synchronize() after"
                " backward() and before clipping, scaler.unscale_() or scaler.step()"
            )

    def _wait(self) -> None:
        for work in self._under_way.values():
            work.synchronize()
        self._under_way.clear()

    def require_all_known(self) -> None:
        """:class:`ExchangeError` for a gradient that the optimizer would apply without an exchange."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad and parameter.grad is not None:
                    self.gradients.of(parameter)


class _Distributed:
    """What DistributedOptimizer adds to an optimizer's class."""

    _byteps_gc: Exchanger

    @property
    def skipped_steps(self) -> int:
        """How many steps were not finite and have been skipped by all workers."""
        return self._byteps_gc.gradients.skipped_steps

    def synchronize(self) -> None:
        """Wait until all gradients are means over all workers; all workers call this, or step().

        To be called between backward() and what looks at gradients before step(): clipping, scaler.unscale_().
        """
        self._byteps_gc.synchronize()

    @contextlib.contextmanager
    def skip_synchronize(self) -> Iterator[None]:
        """Have step() not synchronize: the gradients were by :meth:`synchronize`."""
        self._byteps_gc.waits = False
        try:
            yield
        finally:
            self._byteps_gc.waits = True

    def step(self, closure: Any = None) -> Any:
        """Wait for the means and apply them. All workers skip a step that is not finite, if gradients are compressed.

        closure: computes the loss and calls backward(); it is called once.
        """
        exchanger, loss = self._byteps_gc, None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        exchanger.require_all_known()
        if exchanger.waits and not exchanger.synchronized:
            exchanger.synchronize()
        if exchanger.is_under_way():
            raise ExchangeError("gradients are under way; call optimizer.synchronize() before skip_synchronize()")
        exchanger.synchronized = False
        if exchanger.good:
            exchanger.gradients.before_step()
            super().step()
        else:
            warn_of_skipped(self.skipped_steps, stacklevel=3)
        return loss

    def zero_grad(self, *arguments: Any, **options: Any) -> None:
        """As the optimizer's; :class:`ExchangeError` between backward() and step()."""
        if self._byteps_gc.is_under_way():
            raise ExchangeError("gradients are under way; call step() or synchronize() before zero_grad()")
        super().zero_grad(*arguments, **options)

    def state_dict(self) -> Dict[str, Any]:
        """As the optimizer's, with this worker's error feedback: every worker saves its own."""
        return {**super().state_dict(), OURS: saved.state_of(self._byteps_gc.gradients)}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load what :meth:`state_dict`, or that of the plain optimizer, has returned."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != OURS})
        if OURS in state_dict:
            saved.load(self._byteps_gc.gradients, state_dict[OURS])


def DistributedOptimizer(
    optimizer: torch.optim.Optimizer,
    named_parameters: Named = None,
    compression_params: Union[Mapping[str, Any], Settings, None] = None,
    backward_passes_per_step: int = 1,
    grad_scaler: Any = None,
    local_reduce: Optional[bool] = None,
) -> torch.optim.Optimizer:
    """Have an optimizer apply means of gradients over all workers, and return it.

    Each gradient is exchanged as soon as backward has computed it; ``step()`` waits for all. The optimizer's class
    becomes a subclass of what it was, with ``synchronize()``, ``skip_synchronize()`` and ``skipped_steps``. Pass it to
    learning rate schedulers after this call.

    named_parameters: ``model.named_parameters()``: names for messages, the same on all workers. Parameters of the
        optimizer without a name are numbered.
    compression_params: BytePS's dict (see :meth:`Settings.from_params`), or :class:`Settings`. Without, gradients
        travel as they are, float16 and bfloat16 as float32. Gradients of fewer than BYTEPS_MIN_COMPRESS_BYTES bytes
        (as float32) are not compressed.
    backward_passes_per_step: backward passes whose gradients add up before they are exchanged.
    grad_scaler: the GradScaler that scales the loss. Call ``synchronize()`` before ``scaler.unscale_(optimizer)``, then
        ``scaler.step(optimizer)``: all workers find the same gradients and skip the same steps.
    local_reduce: whether the processes of a host reduce gradients among themselves first, so that each host sends each
        gradient once. By default they do for gradients on GPUs, if each host has the same number of processes and
        ``torch.distributed`` is initialized.

    A parameter that this worker's backward has not used counts as zeros; one that no worker has used stays as it is.
    Raises :class:`ExchangeError` for sharded parameters (FSDP), and for parameters that differ between workers.
    """
    _require_optimizer(optimizer)
    if backward_passes_per_step < 1:
        raise ExchangeError(f"backward_passes_per_step={backward_passes_per_step} is not an integer of at least 1")
    params = compression_params
    settings = params if isinstance(params, Settings) else Settings.from_params(params)
    gradients = Gradients(
        _named(optimizer, named_parameters), settings, optimizer, grad_scaler, local_reduce=local_reduce
    )
    optimizer._byteps_gc = Exchanger(optimizer, gradients, backward_passes_per_step)
    kind = type(optimizer)
    optimizer.__class__ = type(kind.__name__, (_Distributed, kind), {"__module__": kind.__module__})
    return optimizer


def _require_optimizer(optimizer: Any) -> None:
    """:class:`ExchangeError` for what cannot be made distributed."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ExchangeError(f"optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    session.state()
    if isinstance(optimizer, _Distributed):
        raise ExchangeError("this optimizer is a DistributedOptimizer already")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ExchangeError("LBFGS calls its closure several times a step, which is not supported")
    if "step" in vars(optimizer):
        raise ExchangeError("make the DistributedOptimizer before the learning rate scheduler")


def _named(optimizer: torch.optim.Optimizer, named: Named) -> List[Tuple[str, torch.Tensor]]:
    """Return the optimizer's parameters that have gradients, each once, with their names."""
    pairs = named.items() if isinstance(named, Mapping) else (named or ())
    names: Dict[int, str] = {}
    for name, parameter in pairs:
        names.setdefault(id(parameter), name)
    if len(set(names.values())) < len(names):
        raise ExchangeError("named_parameters has a name twice; pass the named_parameters() of one model")
    found, seen = [], set()  # type: List[Tuple[str, torch.Tensor]], Set[int]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found.append((names.get(id(parameter), f"parameter {len(found)}"), parameter))
    return found
