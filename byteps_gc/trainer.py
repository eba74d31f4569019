"""The Gluon trainer that exchanges gradients through BytePS, compressed as its settings say."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union
import warnings

from byteps.mxnet import DistributedOptimizer
import byteps.mxnet.ops as engine
from byteps_gc import env, native, wire
from byteps_gc.errors import CompressionError
from byteps_gc.exchange import (
    ExchangeError,
    declare,
    make_plain,
    next_trainer,
    push_pull,
    push_pull_again,
    replace_by_root,
    require_started,
    threshold,
)
from byteps_gc.intranode import Momentum, incoming, outgoing
from byteps_gc.settings import Settings
import mxnet as mx
import numpy as np


class DistributedTrainer(mx.gluon.Trainer):
    """Gluon's Trainer with push and pull through BytePS in the place of a KVStore.

    params: ParameterDict, dict or list of Parameters, the same on all workers;
        each lives on one device (one process drives one device).
    optimizer, optimizer_params: as for ``mx.gluon.Trainer``. With momentum inside
        the compressor, the optimizer is given by name, and its momentum and weight
        decay are applied around the exchange; ``optimizer_params`` stays as it is.
    root_rank: the worker whose initial parameters all others receive.
    compression_params: BytePS's dict (see :meth:`Settings.from_params`) or
        :class:`~byteps_gc.settings.Settings`. Checked before anything is sent.

    ``step(batch_size)`` divides by ``batch_size`` and takes the mean over all
    workers; without compression it is the optimizer that divides, and gradients
    are left as the sum. A process may have several trainers, which all workers
    make in the same order. Raises :class:`CompressionError` for settings that
    cannot work.
    """

    def __init__(
        self,
        params: Union[Mapping[str, Any], Sequence[Any]],
        optimizer: Union[str, "mx.optimizer.Optimizer"],
        optimizer_params: Optional[Mapping[str, Any]] = None,
        root_rank: int = 0,
        compression_params: Union[Mapping[str, Any], Settings, None] = None,
    ):
        require_started()
        settings = compression_params
        if not isinstance(settings, Settings):
            settings = Settings.from_params(settings)
        if isinstance(optimizer, DistributedOptimizer):
            optimizer = optimizer._optimizer
            warnings.warn(
                "DistributedTrainer exchanges gradients itself: DistributedOptimizer is unwrapped", stacklevel=2
            )
        outer = dict(optimizer_params or {})
        self._momentum = self._weight_decay = 0.0
        if settings.momentum:
            if not isinstance(optimizer, str) or not outer.get("momentum"):
                raise CompressionError(
                    f"momentum={settings.momentum!r} takes the coefficient from optimizer_params['momentum'];"
                    " give the optimizer by name and a momentum above 0"
                )
            self._momentum = float(outer.pop("momentum"))
            self._weight_decay = float(outer.get("wd", 0.0))
        if hasattr(params, "keys"):  # a dict or a ParameterDict
            params = [params[name] for name in sorted(params.keys())]
        super().__init__(
            list(params), optimizer, optimizer_params=outer if isinstance(optimizer, str) else None, kvstore=None
        )
        if not 0 <= root_rank < engine.size():
            raise ExchangeError(f"root_rank={root_rank} is not one of the {engine.size()} workers")
        self._settings = settings
        self._root_rank = root_rank
        self._in_hand: Dict[int, bool] = {}  # of declared gradients: whether a compressor divides and checks them
        self._exchanged: Dict[int, mx.nd.NDArray] = {}
        self._adapters: Dict[int, Momentum] = {}
        self._saved_momentum: Dict[int, mx.nd.NDArray] = {}
        self._skip = False
        self._divisor = float(engine.size())  # what sums are divided by
        # where nothing looks at the mean before the optimizer does, its own factor makes the mean of the sum
        self._compresses = settings.compressor is not None or settings.fp16
        whole = all(np.dtype(param.dtype) == np.float32 for param in self._params)
        self._optimizer_divides = whole and not self._compresses
        self.skipped_steps = 0
        scope, indices = next_trainer(), range(len(self._params))
        self._parameter_names = [f"{scope}parameter_{index}" for index in indices]
        self._gradient_names = [f"{scope}gradient_{index}" for index in indices]
        for name in self._parameter_names:
            declare(name)
        advice = settings.advice()
        if advice and engine.rank() == 0:
            warnings.warn(advice, stacklevel=2)

    def step(self, batch_size: int, ignore_stale_grad: bool = False) -> None:
        """Exchange the gradients and update the parameters; ``batch_size`` is this worker's.

        With compression, a step in which some worker's gradient is not finite is
        skipped by all workers: no parameter, momentum or residual changes, and
        ``skipped_steps`` counts it.
        """
        workers, before = engine.size(), (self._scale, self._divisor)
        if self._optimizer_divides:
            self._scale, self._divisor = 1.0 / workers, 1.0
        else:
            self._scale, self._divisor = batch_size, float(batch_size * workers)
        try:
            super().step(batch_size, ignore_stale_grad)
        finally:
            self._scale, self._divisor = before

    def _declare(self, index: int, param: "mx.gluon.Parameter") -> None:
        """Decide once how a gradient travels: by its size as float32."""
        if index in self._in_hand:
            return
        if len(param.list_grad()) != 1 or param.list_grad()[0].stype != "default":
            raise ExchangeError(f"{param.name}: its gradient is not one dense array on one device")
        name, nbytes = self._gradient_names[index], int(np.prod(param.shape)) * 4
        compressed = self._settings.compressor is not None and nbytes >= threshold()
        options = wire.engine_options(self._settings, self._momentum, name, compressed)
        declare(name, nbytes, **options)
        self._in_hand[index] = bool(options) and env.distributed()
        if self._settings.momentum:
            decay = self._weight_decay * param.wd_mult
            self._adapters[index] = Momentum(self._momentum, decay, compressed, self._saved_momentum.get(index))

    def coming_rate(self) -> float:
        """The learning rate that the next step applies: a scheduler is asked for that step."""
        scheduler = self._optimizer.lr_scheduler
        return float(scheduler(self._optimizer.num_update + 1) if scheduler else self.learning_rate)

    def broadcast_parameters(self) -> None:
        """Give all workers the root's parameters now, those that have shapes, rather than in the first step.

        A first step comes after a forward pass, so it takes from the other workers what batch normalization's averages
        have learnt in that. All workers call it.
        """
        self._init_params()

    def save_states(self, fname: str) -> None:
        """Save the optimizer's state and the momentum that is applied around the exchange.

        What the compressors hold (residuals, and the momentum of compressed
        tensors) is not in the file: in a new process they start from zero.
        """
        content = {"updates": mx.nd.array([self._optimizer.num_update], dtype="int64")}
        for index, state in self._updaters[0].states.items():
            content.update({f"state_{index}_{place}": leaf for place, leaf in enumerate(leaves(state))})
        for index, adapter in self._adapters.items():
            if adapter.state is not None:
                content[f"momentum_{index}"] = adapter.state
        mx.nd.save(fname, content)

    def load_states(self, fname: str) -> None:
        """Load what :meth:`save_states` wrote; the parameters have their shapes already."""
        content = mx.nd.load(fname)
        if not isinstance(content, dict) or "updates" not in content:
            raise ExchangeError(f"{fname} was not written by DistributedTrainer.save_states")
        updates = int(content["updates"].asscalar())
        updater = self._updaters[0]
        for index, param in enumerate(self._params):
            if param.grad_req == "null":
                continue
            weight = param.list_data()[0]
            state = self._optimizer.create_state_multi_precision(index, weight)
            for place, leaf in enumerate(leaves(state)):
                if f"state_{index}_{place}" in content:
                    leaf[:] = content[f"state_{index}_{place}"].as_in_context(leaf.context)
            updater.states[index] = state
            updater.states_synced[index] = True
            self._optimizer._index_update_count[index] = updates
            if f"momentum_{index}" in content:
                self._saved_momentum[index] = content[f"momentum_{index}"].as_in_context(weight.context)
        self._optimizer.num_update = updates

    def _allreduce_grads(self) -> None:
        if self._compresses:
            native.begin_step(self.coming_rate(), self._skip, 1.0 / self._divisor)
            self._skip = False
        arrived = []
        for index, param in enumerate(self._params):
            if param.grad_req == "null":
                continue
            self._declare(index, param)
            gradient = param.list_grad()[0]
            total, name = outgoing(gradient), self._gradient_names[index]
            if total is self._exchanged.get(index):
                push_pull_again(total, name, -index)
            else:
                push_pull(total, priority=-index, name=name, is_average=False)
                if total is gradient:
                    self._exchanged[index] = total
            arrived.append((index, param, gradient, total))
        if self._compresses and not self._finite({index: total for index, _, _, total in arrived}):
            return
        for index, param, gradient, total in arrived:
            incoming(total, gradient, 1.0 if self._in_hand[index] else self._divisor)
            if index in self._adapters:
                self._adapters[index].apply(gradient, param.list_data()[0])

    def _finite(self, totals: Dict[int, "mx.nd.NDArray"]) -> bool:
        """Whether all sums are finite; otherwise the step is to be skipped. All workers have the same sums.

        What a compressor had in hand on its way to this process was looked at
        there; of several local processes only one has compressors.
        """
        plain = [total for index, total in totals.items() if not self._in_hand[index]]
        if engine.local_size() > 1:
            plain = list(totals.values())
        for total in totals.values():
            total.wait_to_read()
        native.end_step()
        finite = not native.not_finite()
        if plain:
            finite &= bool(mx.nd.multi_all_finite(*plain, num_arrays=len(plain)).asscalar())
        failure = native.failure()
        if failure:
            raise ExchangeError(failure)
        if not finite:
            self._skip = True
            self.skipped_steps += 1
            if engine.rank() == 0:
                text = f"a gradient is not finite: step skipped by all workers ({self.skipped_steps} so far)"
                warnings.warn(text, stacklevel=4)
        return finite

    def _update(self, ignore_stale_grad: bool = False) -> None:
        if self._skip:
            return
        # MXNet's NAG reads a weight again when it has written it: with a copy to read it comes to another momentum, so
        # workers whose weights are in different layouts at this moment would drift apart
        for param in self._params:
            if param.grad_req != "null":
                make_plain(param.list_data()[0])
        super()._update(ignore_stale_grad)

    def _init_params(self) -> None:
        waiting = []
        for param in self._params_to_init:
            if param._deferred_init:
                waiting.append(param)
                continue
            name = self._parameter_names[self._param2idx[param.name]]
            replace_by_root(param.list_data()[0], name, self._root_rank)
        self._params_to_init = waiting


def leaves(state: Any) -> List["mx.nd.NDArray"]:
    """The arrays of an optimizer's state of one parameter: none, one, or nested tuples of them."""
    if state is None:
        return []
    if isinstance(state, (tuple, list)):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]
