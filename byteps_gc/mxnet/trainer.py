"""The Gluon trainer that exchanges gradients through BytePS, compressed as its settings say."""

import numbers
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union
import warnings

from byteps.mxnet import DistributedOptimizer
from byteps_gc import env
from byteps_gc.compressors.settings import Settings
from byteps_gc.core import session
from byteps_gc.core.agreement import gather
from byteps_gc.core.routes import Factors, Route, Scaling, routes
from byteps_gc.errors import CompressionError, ExchangeError
from byteps_gc.mxnet import agreement, optimizers, rejoin, trainer_states
from byteps_gc.mxnet.exchange import make_plain
from byteps_gc.mxnet.gradients import Gradients, digest
from byteps_gc.mxnet.join import follow
from byteps_gc.mxnet.momentum import Momentum
from byteps_gc.mxnet.parameters import Parameters, checked
import mxnet as mx


class DistributedTrainer(mx.gluon.Trainer):
    """Gluon's Trainer with push and pull through BytePS instead of a KVStore.

    params: ParameterDict, dict or list of Parameters, the same on all workers;
        each lives on one device (one process drives one device).
    optimizer, optimizer_params: as for ``mx.gluon.Trainer``. With momentum inside
        the compressor, the optimizer is "sgd" or "nag", and its momentum and weight
        decay are applied around the exchange; ``optimizer_params`` stays as it is.
    root_rank: the worker whose initial parameters all others receive.
    compression_params: BytePS's dict (see :meth:`Settings.from_params`) or
        :class:`~byteps_gc.compressors.settings.Settings`. Checked before anything is sent.
    kvstore, update_on_kvstore: None; BytePS replaces the KVStore.

    All workers call the same methods in the same order. A process may have
    several trainers, which all workers make in the same order.
    docs/gluon.md says what each method and option of Gluon's Trainer does here.
    Raises :class:`CompressionError` for settings that cannot work, and
    :class:`ExchangeError` for calls that cannot be honoured and for workers that
    do not train the same parameters.
    """

    def __init__(
        self,
        params: Union[Mapping[str, Any], Sequence[Any]],
        optimizer: Union[str, "mx.optimizer.Optimizer"],
        optimizer_params: Optional[Mapping[str, Any]] = None,
        root_rank: int = 0,
        compression_params: Union[Mapping[str, Any], Settings, None] = None,
        kvstore: None = None,
        update_on_kvstore: Optional[bool] = None,
    ):
        state = session.state()
        if kvstore is not None or update_on_kvstore:
            raise ExchangeError("kvstore and update_on_kvstore must be left out: BytePS replaces the KVStore")
        if not isinstance(compression_params, Settings):
            compression_params = Settings.from_params(compression_params)
        if isinstance(optimizer, DistributedOptimizer):
            optimizer = optimizer._optimizer
            warnings.warn(
                "unwrapping DistributedOptimizer: DistributedTrainer exchanges gradients itself", stacklevel=2
            )
        if not 0 <= root_rank < session.size():
            raise ExchangeError(f"root_rank={root_rank} is not a rank from 0 to {session.size() - 1}")
        optimizer, mu = optimizers.make(optimizer, optimizer_params, compression_params)
        super().__init__(checked(params), optimizer, kvstore=None)
        scope = state.next_scope()
        self._routes = routes(scope, len(self._params))
        self._scope = f"{scope}agreement."  # prefix of what workers compare
        self._shared = Parameters(self._params, self._routes, root_rank, self._scope)
        self._gradients = Gradients(self._params, self._routes, compression_params, mu, self._scope)
        averages = not self._gradients.keeps_states and optimizers.takes_mean(self._optimizer, self._params)
        self._scaling = Scaling(session.size(), session.local_size(), averages)
        self._arrived: Optional[List[Route]] = None  # by allreduce_grads(), until update()
        self._good = True  # whether the last exchange is to be applied
        self._steps = 0
        self._check_steps = env.check_steps()
        follow(self)
        advice = compression_params.advice()
        if advice and session.rank() == 0:
            warnings.warn(advice, stacklevel=2)

    @property
    def skipped_steps(self) -> int:
        """How many steps all workers have skipped, because a gradient was not finite."""
        return self._gradients.skipped_steps

    def step(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Exchange the gradients and update the parameters.

        batch_size: this worker's. Each worker's gradients are divided by its own, and the mean over workers is applied.
        ignore_stale_grad: a gradient that is fresh on some workers counts as zero on the others; one that is fresh
        on none leaves its parameter and its states alone. Without it, :class:`StaleGradientError` for a stale gradient.

        After :meth:`allreduce_grads` without a new backward, this is :meth:`update`.

        With compression, a step in which some worker's gradient is not finite is
        skipped by all workers: no parameter, momentum or residual changes, and
        ``skipped_steps`` counts it.
        """
        rescale, batch_size = self._rescale(batch_size)
        if self._arrived is not None and not self._gradients.backward_since():
            self._update_arrived(rescale, batch_size, ignore_stale_grad)
            return
        self._start()
        if self._scaling.reference is None or not env.distributed() and session.size() == 1:
            _, shared = gather([rescale, batch_size], f"{self._scope}reference")
            self._scaling.agree(*shared[0].tolist())
        fresh = self._choose(ignore_stale_grad)
        self._exchange(fresh, lambda encoded: self._scaling.step(encoded, rescale))
        self._apply(fresh, self._scaling.optimizer())

    def allreduce_grads(self) -> None:
        """Replace the gradients by their mean over all workers, not divided by any batch size.

        Call :meth:`update` next. In between gradients may be changed, in the same way on all workers; not those whose
        momentum is inside the compressor, as it has been added by then.
        """
        session.state()
        self._start()
        fresh = self._choose(True)
        self._exchange(fresh, lambda encoded: self._scaling.allreduce(encoded, self._scale))
        for route in fresh:
            self._gradients.data(route)._fresh_grad = False
            if route.with_momentum:
                route.digest = digest(route)
        self._arrived = fresh

    def update(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Update the parameters with what :meth:`allreduce_grads` has brought.

        batch_size: the same on all workers; :class:`ExchangeError` on all of them otherwise.
        """
        rescale, batch_size = self._rescale(batch_size)
        if self._arrived is None:
            raise ExchangeError(
                "update() without allreduce_grads(): the gradients have not been exchanged; call step()"
            )
        self._update_arrived(rescale, batch_size, ignore_stale_grad)

    def broadcast_parameters(self) -> None:
        """Give all workers the root's parameters now, those that have shapes, rather than in the first step.

        A first step comes after a forward pass, so it takes from the other workers what batch normalization's averages
        have learnt in that. All workers call it.
        """
        session.state()
        self._shared.start(self._settings())

    def check_parameters(self) -> None:
        """Compare all parameters between workers, bit for bit; :class:`ExchangeError` on all if they differ.

        All workers call it. The trainer does so itself after the first step, and then every BYTEPS_GC_CHECK_STEPS
        steps. Batch normalization's running averages are each worker's own, and not compared.
        """
        session.state()
        self._shared.check(self._steps)

    def save_states(self, fname: str) -> None:
        """Save the optimizer's states, counts and numbers, and the momentum that is applied around the exchange.

        What the compressors hold (residuals, and the momentum of compressed
        tensors) is not in the file: after :meth:`load_states` they start from zero.
        """
        trainer_states.save(fname, self._updaters[0], self._params, self._routes)

    def load_states(self, fname: str) -> None:
        """Load what :meth:`save_states` wrote, also into a trainer that has made steps. All workers call it.

        As in Gluon, the optimizer's numbers are those of the file, the learning rate among them. Raises
        :class:`ExchangeError`, before anything is changed, for the file of another optimizer, of another net, or of
        ``mx.gluon.Trainer``.
        """
        trainer_states.load(fname, self._updaters[0], self._params, self._routes, self._gradients.mu)
        self._arrived = None

    def take_over(self, root: int) -> None:
        """Continue where the worker ``root`` is, on all workers at the same time; :func:`bps.join` calls it."""
        self._arrived = None
        scaling, gradients, shared = self._scaling, self._gradients, self._shared
        numbers = (
            gradients.mu,
            shared.missing,
            self._steps,
            gradients.skipped_steps,
            scaling.reference,
            scaling.batch_size,
        )
        found = rejoin.take_over(self._params, self._routes, self._updaters[0], numbers, root, f"{self._scope}rejoin")
        _, shared.missing, self._steps, gradients.skipped_steps, scaling.reference, scaling.batch_size = found

    # what a step consists of

    def _rescale(self, batch_size: float) -> Tuple[float, float]:
        """Return what Gluon's optimizer would multiply this worker's gradients by, and the batch size as a float."""
        session.state()
        number = float(batch_size) if isinstance(batch_size, numbers.Real) else 0.0
        if not 0 < abs(number) < float("inf"):
            given = repr(batch_size) if isinstance(batch_size, (numbers.Real, str)) else type(batch_size).__name__
            raise ExchangeError(f"batch_size={given} is not a finite number other than 0")
        if self._gradients.mu:
            optimizers.reject_clipping(self._optimizer.clip_gradient)
        return self._scale / number, number

    def _start(self) -> None:
        self._shared.start(self._settings())
        self._shared.require_shapes()

    def _settings(self) -> Dict[str, Any]:
        """What has to be the same on all workers, besides the parameters."""
        return {
            "compression": self._gradients.settings.to_params(),
            "momentum inside the compressor": self._gradients.mu,
            "optimizer": type(self._optimizer).__name__,
            "BYTEPS_MIN_COMPRESS_BYTES": session.threshold(),
            "BYTEPS_GC_CHECK_STEPS": self._check_steps,
        }

    def _choose(self, ignore_stale_grad: bool) -> List[Route]:
        """Return the routes to exchange; an allreduce_grads() that no update() followed is dropped."""
        dropped, self._arrived = self._arrived or [], None
        return self._gradients.choose(ignore_stale_grad, dropped)

    def _exchange(self, fresh: List[Route], factors: Callable[[bool], Factors]) -> None:
        indices = [route.index for route in fresh]
        rate = optimizers.coming_rate(self._optimizer, indices) if self._gradients.keeps_states else 0.0
        self._good = self._gradients.exchange(fresh, rate, factors)

    def _update_arrived(self, rescale: float, batch_size: float, ignore_stale_grad: bool) -> None:
        """Apply the gradients that allreduce_grads() has brought."""
        if not ignore_stale_grad:
            self._gradients.reject_stale()
        agreement.same_rescale(rescale, f"{self._scope}rescale")
        arrived, self._arrived = self._arrived, None
        self._check_momentum(arrived, rescale)
        if self._scaling.reference is None:
            self._scaling.agree(rescale, batch_size)
        self._scaling.batch_size = batch_size
        self._apply(arrived, rescale)

    def _check_momentum(self, arrived: List[Route], rescale: float) -> None:
        """Raise :class:`CompressionError` if gradients with momentum were changed, or belong to another batch size."""
        expected = self._scaling.expected(self._scale)
        for route in arrived if self._good else []:
            if not route.with_momentum:
                continue
            if digest(route) != route.digest:
                raise CompressionError(
                    f"the gradient of {self._params[route.index].name} was changed between allreduce_grads() and"
                    " update(), when the momentum inside the compressor is already part of it; to change gradients,"
                    " remove momentum='nesterov' from compression_params"
                )
            if expected is not None and rescale != expected:
                raise CompressionError(
                    f"update() got rescale_grad / batch_size = {rescale:g}, but momentum inside the compressor was"
                    f" added for {expected:g}; call step(batch_size), which knows it before the exchange"
                )

    def _apply(self, fresh: List[Route], rescale: float) -> None:
        """Update the parameters of these routes; the optimizer multiplies their gradients by ``rescale``."""
        self._steps += 1
        self._optimizer.rescale_grad = rescale
        if self._good:
            self._update_fresh(fresh, rescale)
        else:
            self._skip(fresh)
        if self._check_steps and (self._steps == 1 or self._steps % self._check_steps == 0):
            self.check_parameters()

    def _skip(self, fresh: List[Route]) -> None:
        """Leave everything as it is; AMP's loss scaler sees the overflow, and keeps gradients fresh, as in Gluon."""
        scaler = getattr(self, "_amp_loss_scaler", None)
        if scaler:
            scaler.has_overflow(self._params)
        for route in fresh:
            self._gradients.data(route)._fresh_grad = bool(scaler) and route.own

    def _update_fresh(self, fresh: List[Route], rescale: float) -> None:
        """Have Gluon's trainer update what is fresh on any worker."""
        marked = []
        for route in fresh:
            data = self._gradients.data(route)
            # MXNet's NAG reads a weight again when it has written it: with a copy to read it comes to another momentum,
            # so workers whose weights are in different layouts at this moment would drift apart
            make_plain(data)
            if self._gradients.mu:
                route.momentum = route.momentum or Momentum(self._gradients.mu)
                decay = self._optimizer._get_wd(route.index)
                route.momentum.apply(route.array, data, route.with_momentum, decay, rescale)
            if not data._fresh_grad:
                data._fresh_grad = True
                marked.append(route)
        self._update(ignore_stale_grad=True)
        for route in marked:  # AMP's loss scaler may have seen an overflow: what was fresh before then stays so
            data = self._gradients.data(route)
            data._fresh_grad = data._fresh_grad and route.own
