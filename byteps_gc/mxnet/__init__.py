"""BytePS for MXNet with compression that works: ``import byteps_gc.mxnet as bps``.

The names are those of ``byteps.mxnet``: init, shutdown, rank, size, local_rank,
local_size, push_pull, declare, broadcast, DistributedOptimizer and
DistributedTrainer, and join as in Horovod; ``byteps_push_pull``, ``byteps_declare_tensor`` and
``broadcast_parameters`` are the same functions under BytePS's longer names.

rank() counts all processes from 0 to size() - 1, local_rank() those of this
worker. A process that fails, with an exception or ``sys.exit(status)``, ends at
once instead of waiting for workers that wait for it.
"""

import byteps_gc.before_mxnet  # noqa: F401  isort: skip  before MXNet

from byteps.mxnet import DistributedOptimizer
from byteps_gc.core import session
from byteps_gc.core.exchange import declare
from byteps_gc.core.session import local_rank, local_size, rank, received_bytes, sent_bytes, shutdown, size
from byteps_gc.mxnet.broadcast import broadcast
from byteps_gc.mxnet.exchange import push_pull
from byteps_gc.mxnet.join import join
from byteps_gc.mxnet.trainer import DistributedTrainer
import mxnet as mx

__all__ = [
    "DistributedOptimizer",
    "DistributedTrainer",
    "broadcast",
    "declare",
    "init",
    "join",
    "local_rank",
    "local_size",
    "push_pull",
    "rank",
    "received_bytes",
    "sent_bytes",
    "shutdown",
    "size",
]

byteps_push_pull = push_pull
byteps_declare_tensor = declare
broadcast_parameters = broadcast

session.before_shutdown(mx.nd.waitall)


def init(lazy: bool = True) -> None:
    """Start BytePS in this process; a second call does nothing.

    lazy: connect to the servers at the first exchange instead of now.
    The cluster is described by the environment (DMLC_ROLE, DMLC_NUM_WORKER,
    DMLC_NUM_SERVER, DMLC_PS_ROOT_URI, DMLC_PS_ROOT_PORT, DMLC_WORKER_ID);
    :class:`SettingsError` names what is missing. After :func:`shutdown` a worker
    alone may start again; one that has left a cluster cannot: :class:`ExchangeError`.
    """
    session.start(lazy)
