"""The Gluon trainer that exchanges gradients through BytePS, compressed as its settings say."""

import mmap
import os
from pathlib import Path
import struct
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union
import warnings

from byteps.mxnet import DistributedOptimizer
import byteps.mxnet.ops as engine
from byteps_gc import env, wire
from byteps_gc.errors import CompressionError
from byteps_gc.exchange import ExchangeError, declare, push_pull, replace_by_root, require_started
from byteps_gc.intranode import Momentum, Plan
from byteps_gc.settings import Settings
import mxnet as mx
import numpy as np


class RateFile:
    """The learning rate as eight bytes in shared memory: error feedback reads it on worker and servers.

    All workers and servers of one host and job share one file; every worker
    writes the same value. ``path``: BYTEPS_GC_LR_FILE, which the launcher sets.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(str(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, 8)
            self._memory = mmap.mmap(handle, 8)
        finally:
            os.close(handle)
        self.value: Optional[float] = None

    def write(self, rate: float) -> None:
        """Publish the learning rate of the coming step."""
        self._memory[:8] = struct.pack("d", rate)
        self.value = rate


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
    workers. Raises :class:`CompressionError` for settings that cannot work.
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
            self._weight_decay = float(outer.pop("wd", 0.0))
        if hasattr(params, "keys"):  # a dict or a ParameterDict
            params = [params[name] for name in sorted(params.keys())]
        super().__init__(
            list(params), optimizer, optimizer_params=outer if isinstance(optimizer, str) else None, kvstore=None
        )
        if not 0 <= root_rank < engine.size():
            raise ExchangeError(f"root_rank={root_rank} is not one of the {engine.size()} workers")
        self._settings = settings
        self._root_rank = root_rank
        self._threshold = env.min_compress_bytes()
        self._plans: Dict[int, Plan] = {}
        self._adapters: Dict[int, Momentum] = {}
        self._saved_momentum: Dict[int, mx.nd.NDArray] = {}
        self._rate_file = RateFile(env.learning_rate_file()) if settings.ef else None
        self._publish_rate()
        for index, _ in enumerate(self._params):
            declare(f"parameter_{index}")

    def step(self, batch_size: int, ignore_stale_grad: bool = False) -> None:
        """Exchange the gradients and update the parameters; ``batch_size`` is this worker's."""
        self._scale = batch_size
        super().step(batch_size, ignore_stale_grad)

    def _plan(self, index: int, param: "mx.gluon.Parameter") -> Plan:
        """Decide once how a gradient travels, and declare it so."""
        if index not in self._plans:
            if len(param.list_grad()) != 1 or param.list_grad()[0].stype != "default":
                raise ExchangeError(f"{param.name}: its gradient is not one dense array on one device")
            compressed = self._settings.compressor is not None
            compressed = compressed and int(np.prod(param.shape)) * 4 >= self._threshold
            options = wire.engine_options(self._settings, self._momentum) if compressed else {}
            declare(f"gradient_{index}", **options)
            half = self._settings.fp16 and not compressed
            self._plans[index] = Plan(half=half, workers=engine.size())
            if self._settings.momentum:
                decay = self._weight_decay * param.wd_mult
                state = self._saved_momentum.get(index)
                self._adapters[index] = Momentum(self._momentum, decay, compressed, state)
        return self._plans[index]

    def coming_rate(self) -> float:
        """The learning rate that the next step applies: a scheduler is asked for that step."""
        scheduler = self._optimizer.lr_scheduler
        return float(scheduler(self._optimizer.num_update + 1) if scheduler else self.learning_rate)

    def _publish_rate(self) -> None:
        """Tell error feedback the coming step's learning rate.

        A new value is written only when all gradients of the last step have
        come back: then no worker and no server still computes with the old one.
        """
        if self._rate_file is None:
            return
        rate = self.coming_rate()
        if self._rate_file.value != rate:
            mx.nd.waitall()
            self._rate_file.write(rate)

    def save_states(self, fname: str) -> None:
        """Save the optimizer's state and the momentum that is applied around the exchange.

        What the engine's compressors hold (residuals, and the momentum of
        compressed tensors) is not in the file: after :meth:`load_states` they
        start from zero.
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
        self._publish_rate()
        for index, param in enumerate(self._params):
            if param.grad_req == "null":
                continue
            plan = self._plan(index, param)
            gradient = param.list_grad()[0]
            total = plan.outgoing(gradient, self._scale)
            push_pull(total, priority=-index, name=f"gradient_{index}", is_average=False)
            plan.incoming(total, gradient)
            if index in self._adapters:
                self._adapters[index].apply(gradient, param.list_data()[0])

    def _init_params(self) -> None:
        waiting = []
        for param in self._params_to_init:
            if param._deferred_init:
                waiting.append(param)
                continue
            tensor = param.list_data()[0]
            replace_by_root(tensor, f"parameter_{self._param2idx[param.name]}", self._root_rank)
        self._params_to_init = waiting


def leaves(state: Any) -> List["mx.nd.NDArray"]:
    """The arrays of an optimizer's state of one parameter: none, one, or nested tuples of them."""
    if state is None:
        return []
    if isinstance(state, (tuple, list)):
        return [leaf for part in state for leaf in leaves(part)]
    return [state]
