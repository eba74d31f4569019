"""A communication hook for DistributedDataParallel, which exchanges its buckets through BytePS."""

import sys
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from byteps_gc.compressors.settings import Settings
from byteps_gc.core import session
from byteps_gc.core.gradients import warn_of_skipped
from byteps_gc.errors import ExchangeError, UserError
from byteps_gc.torch import saved, step_hooks
from byteps_gc.torch.gradients import Gradient, Gradients, require_dense
import torch
from torch.distributed import GradBucket
from torch.nn.parallel import DistributedDataParallel

HookFunction = Callable[["HookState", GradBucket], torch.futures.Future[torch.Tensor]]


class HookState:
    """State of a hook: the gradients' names, error feedback, momentum.

    skipped_steps: how many steps were not finite; their gradients were not applied. :meth:`state_dict` is saved by
    every worker for itself, with ``torch.save``.
    """

    def __init__(self, gradients: Gradients, device: torch.device, users: Optional[torch.Tensor] = None):
        self._gradients = gradients
        self._users = users  # of each gradient, the number of workers that used it in the last step, if DDP counts it
        self._device = device
        self._mutex = threading.Lock()
        self._step = Step()

    @property
    def skipped_steps(self) -> int:
        """How many steps were not finite."""
        return self._gradients.skipped_steps

    def state_dict(self) -> Dict[str, Any]:
        """Return this worker's error feedback, momentum and step counters. Servers' error feedback is not saved."""
        self._undo_unused()
        return saved.state_of(self._gradients)

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken, before the next backward; all workers do."""
        saved.load(self._gradients, state)
        self._step = Step()

    def exchange(self, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        """Begin to exchange a bucket; return the future of its mean."""
        buffer = bucket.buffer()
        require_dense(buffer, "the model")
        batch = [
            (self._gradients.of(parameter), gradient.view(-1))
            for parameter, gradient in zip(bucket.parameters(), bucket.gradients())
        ]
        if bucket.index() == 0:
            self._undo_unused()
            self._step = Step()
            self._gradients.open_step()
        step = self._step
        place, step.begun = step.begun, step.begun + len(batch)
        with self._mutex:
            step.left += 1
            step.complete = bucket.is_last()
        future = _future(self._device)
        those = [one for one, _ in batch]
        self._gradients.begin(place, batch, buffer, lambda error: self._arrived(step, those, buffer, future, error))
        return future.then(_value)

    def _undo_unused(self) -> None:
        """Undo the last exchange of parameters that no worker used in it: DDP leaves their gradients as they were."""
        if self._users is None or not self._step.complete:
            return
        for one, users in zip(self._gradients.each, self._users.tolist()):
            one.route.skipped |= users == 0

    def _arrived(
        self, step: "Step", batch: List[Gradient], buffer: torch.Tensor, future: Any, error: Optional[Exception]
    ) -> None:
        """End the exchange of a bucket; called in another thread."""
        try:
            if error:
                raise error
            good = self._gradients.good(batch)
            with self._mutex:
                step.good &= good
                step.left -= 1
                over = step.complete and not step.left
            if over:  # before backward can return
                self._gradients.end_step(step.good)
            self._gradients.finish(batch, lambda: future.set_result(buffer))
        except Exception as failure:
            _failures.append(failure)
            future.set_exception(failure)

    def before_step(self, optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
        """Have an optimizer skip a step that is not finite: it applies gradients that are there."""
        if self._step.good:
            return self._gradients.before_step()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in self._gradients:
                    parameter.grad = None
        warn_of_skipped(self.skipped_steps, stacklevel=4)


class Step:
    """The buckets of one backward.

    left: those under way. begun: gradients in them so far. complete: the last one has begun. good: all are finite.
    """

    def __init__(self) -> None:
        self.left = self.begun = 0
        self.complete = False
        self.good = True


def ddp_hook(
    model: DistributedDataParallel,
    optimizer: Optional[torch.optim.Optimizer] = None,
    compressor: Optional[str] = None,
    grad_scaler: Any = None,
    local_reduce: Optional[bool] = None,
    **options: Any,
) -> Tuple[HookState, HookFunction]:
    """Return what ``model.register_comm_hook`` takes, to exchange a DDP model's gradients through BytePS.

    model: a DistributedDataParallel. optimizer: applies its gradients; it gives the learning rates for error feedback,
        and skips steps that are not finite. Without it, error feedback takes the rates as constant, and such steps are
        only counted in ``skipped_steps``.
    compressor, options: compression parameters, as in :meth:`Settings.from_params`: the compressor's options, ef, fp16,
        bf16.
    grad_scaler: the GradScaler that scales the loss.
    local_reduce: whether the processes of a host reduce gradients among themselves first, so that each host sends each
        gradient once. By default they do for gradients on GPUs, if each host has the same number of processes.

    Without a compressor, gradients travel as they are, float16 and bfloat16 as float32. Raises :class:`ExchangeError`
    for a model that is not DDP's, such as FSDP's, one with sparse gradients, and parameters that differ between
    workers.
    """
    session.state()
    _require_model(model)
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise ExchangeError(f"optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    settings = Settings.from_params({"compressor": compressor, **options})
    ignored = set(getattr(model, "parameters_to_ignore", ()))
    named = [
        (name, parameter)
        for name, parameter in model.module.named_parameters()
        if parameter.requires_grad and name not in ignored
    ]
    gradients = Gradients(named, settings, optimizer, grad_scaler, flat=True, local_reduce=local_reduce)
    state = HookState(gradients, named[0][1].device, _users(model))
    if optimizer is not None:
        step_hooks.add(optimizer, state.before_step)
    _report_failures()
    return state, exchange_bucket


def exchange_bucket(state: HookState, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Exchange a bucket: the hook of all models."""
    return state.exchange(bucket)


def _require_model(model: Any) -> None:
    """:class:`ExchangeError` unless a hook can exchange this model's gradients."""
    if not isinstance(model, DistributedDataParallel):
        raise ExchangeError(
            f"model is a {type(model).__name__}, not a DistributedDataParallel; FSDP is not supported; without DDP, use"
            " bps.DistributedOptimizer"
        )
    for name, module in model.module.named_modules():
        if getattr(module, "sparse", False) is True:
            raise ExchangeError(f"{name or 'model'} has sparse gradients, which are not supported; pass sparse=False")


def _users(model: DistributedDataParallel) -> Optional[torch.Tensor]:
    """Return DDP's counts of the workers that use each parameter, which it renews in every backward, or None."""
    return model.reducer._get_local_used_map() if model.find_unused_parameters and not model.static_graph else None


def _future(device: torch.device) -> torch.futures.Future[torch.Tensor]:
    return torch.futures.Future(devices=[device] if device.type == "cuda" else None)


def _value(future: torch.futures.Future[torch.Tensor]) -> torch.Tensor:
    """Return a future's result, or raise its exception, which C++ then passes on."""
    return future.wait()


_failures: List[Exception] = []
_reports = False


def _report_failures() -> None:
    """Print a user's mistake as one line, although C++ has made it a RuntimeError of backward()."""
    global _reports
    if _reports:
        return
    _reports, before = True, sys.excepthook

    def report(kind: type, value: BaseException, trace: Any) -> None:
        for failure in _failures:
            if isinstance(value, RuntimeError) and isinstance(failure, UserError) and str(failure) in str(value):
                kind, value = type(failure), failure
        before(kind, value, trace)

    sys.excepthook = report
