"""BytePS for PyTorch, with compression that works: ``import byteps_gc.torch as bps``.

For scripts with DistributedDataParallel, :func:`ddp_hook` replaces its all-reduce, in one line::

    bps.init()
    model = DistributedDataParallel(model)
    model.register_comm_hook(*bps.ddp_hook(model, optimizer, compressor="onebit", ef="vanilla"))

For scripts without, the names are those of BytePS and Horovod::

    bps.init()
    optimizer = bps.DistributedOptimizer(optimizer, model.named_parameters(), {"compressor": "onebit", "ef": "vanilla"})
    bps.broadcast_parameters(model.state_dict())

Start the workers with ``torchrun`` or ``python -m byteps_gc launch``. A process that fails, with an exception or
``sys.exit(status)``, ends at once instead of waiting for workers that wait for it. Ctrl-C interrupts every wait.
"""

from byteps_gc.errors import ExchangeError
from byteps_gc.torch import version  # noqa: F401  it comes first: it checks PyTorch
from byteps_gc.torch.broadcast import broadcast_optimizer_state, broadcast_parameters
from byteps_gc.torch.ddp import ddp_hook
from byteps_gc.torch.exchange import (
    Handle,
    poll,
    push_pull,
    push_pull_async,
    push_pull_async_inplace,
    push_pull_inplace,
    synchronize,
)
from byteps_gc.torch.optimizer import DistributedOptimizer
from byteps_gc.torch.process import init, local_rank, local_size, rank, shutdown, size

__all__ = [
    "DistributedOptimizer",
    "ExchangeError",
    "Handle",
    "broadcast_optimizer_state",
    "broadcast_parameters",
    "ddp_hook",
    "init",
    "local_rank",
    "local_size",
    "poll",
    "push_pull",
    "push_pull_async",
    "push_pull_async_inplace",
    "push_pull_inplace",
    "rank",
    "shutdown",
    "size",
    "synchronize",
]
