"""BytePS for MXNet with compression that works: ``import byteps_gc.mxnet as bps``.

The names are those of ``byteps.mxnet``: init, shutdown, rank, size, local_rank,
local_size, push_pull, declare, broadcast, DistributedOptimizer and
DistributedTrainer, and join as in Horovod; ``byteps_push_pull``, ``byteps_declare_tensor`` and
``broadcast_parameters`` are the same functions under BytePS's longer names.

rank() counts all processes from 0 to size() - 1, local_rank() those of this
worker. A process that fails, with an exception or ``sys.exit(status)``, ends at
once instead of waiting for workers that wait for it.
"""

import atexit
import contextlib
import ctypes
import os
import sys

import byteps_gc.numpy_bool  # noqa: F401  isort: skip  before MXNet

from byteps.mxnet import DistributedOptimizer
import byteps.mxnet.ops as _engine
from byteps_gc import env, native
from byteps_gc.errors import UserError
from byteps_gc.mxnet.broadcast import broadcast
from byteps_gc.mxnet.exchange import ExchangeError, declare, is_started, push_pull, require_started, started
from byteps_gc.mxnet.join import join
from byteps_gc.mxnet.trainer import DistributedTrainer
from byteps_gc.processes import tolerate_late_wakeups
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
    "sent_bytes",
    "shutdown",
    "size",
]

byteps_push_pull = push_pull
byteps_declare_tensor = declare
broadcast_parameters = broadcast

# what a worker of one process without a launcher is
ALONE = {"BYTEPS_LOCAL_RANK": "0", "BYTEPS_LOCAL_SIZE": "1", "DMLC_WORKER_ID": "0", "DMLC_NUM_WORKER": "1"}

native.register("worker")

_status = 0  # of this process, once it has failed
_is_watched = False
_has_left = False  # a cluster, which does not take workers back


def init(lazy: bool = True) -> None:
    """Start BytePS in this process; a second call does nothing.

    lazy: connect to the servers at the first exchange instead of now.
    The cluster is described by the environment (DMLC_ROLE, DMLC_NUM_WORKER,
    DMLC_NUM_SERVER, DMLC_PS_ROOT_URI, DMLC_PS_ROOT_PORT, DMLC_WORKER_ID);
    :class:`SettingsError` names what is missing. After :func:`shutdown` a worker
    alone may start again; one that has left a cluster cannot: :class:`ExchangeError`.
    """
    if is_started():
        return
    if _has_left:
        raise ExchangeError(
            "cannot start BytePS again: this process has left its cluster, which has ended; start a new process"
        )
    _notice_failures()
    env.check_cluster("worker")
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    tolerate_late_wakeups()
    native.start(env.integer("DMLC_NUM_WORKER"), env.integer("DMLC_WORKER_ID"))
    threshold = env.min_compress_bytes()
    with _decided_here():
        library = _engine.MXNET_LIB_CTYPES
        library.byteps_lazy_init() if lazy else library.byteps_init()
    started(True, threshold)


@contextlib.contextmanager
def _decided_here():
    """Whether a tensor is compressed is decided once, by the trainer: BytePS sees a threshold of 0."""
    before = os.environ.get("BYTEPS_MIN_COMPRESS_BYTES")
    os.environ["BYTEPS_MIN_COMPRESS_BYTES"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["BYTEPS_MIN_COMPRESS_BYTES"]
        else:
            os.environ["BYTEPS_MIN_COMPRESS_BYTES"] = before


def rank() -> int:
    """This process's number among all, from 0."""
    require_started()
    return _engine.rank()


def size() -> int:
    """The number of processes of all workers."""
    require_started()
    return _engine.size()


def local_rank() -> int:
    """This process's number among those of its worker, from 0: the GPU to use."""
    require_started()
    return _engine.local_rank()


def local_size() -> int:
    """The number of processes of this worker."""
    require_started()
    return _engine.local_size()


def shutdown() -> None:
    """Leave the cluster, when every exchange is done; returns when all workers and servers have been told.

    An MXNet operation that has failed raises its error, once the cluster is left.
    """
    global _has_left
    if is_started():
        started(False)
        _has_left = env.distributed()
        try:
            mx.nd.waitall()  # other workers may read what this one does not
        finally:
            _engine.MXNET_LIB_CTYPES.byteps_shutdown()


def sent_bytes() -> int:
    """Bytes that this process has sent to scheduler and servers since init(); 0 with one worker."""
    counter = _engine.MXNET_LIB_CTYPES.byteps_gc_sent_bytes
    counter.restype = ctypes.c_uint64
    return counter()


def _notice_failures() -> None:
    """Have this process end at once when it fails, with one line for a user's mistake; a second call does nothing."""
    global _is_watched
    if not _is_watched:
        _is_watched = True
        sys.excepthook = _fail(sys.excepthook)
        sys.exit = _note_status(sys.exit)
        atexit.register(_leave)


def _fail(hook):
    """An excepthook that tells a user's mistake in one line, and notes that the process has failed."""

    def fail(kind, value, trace):
        global _status
        _status = 1
        if isinstance(value, UserError):
            print(f"{os.path.basename(sys.argv[0])}: {value}", file=sys.stderr)
        else:
            hook(kind, value, trace)

    return fail


def _note_status(leave):
    """sys.exit, which notes a status that says that the process has failed."""

    def exit(status=None):
        global _status
        if status is not None:
            _status = status if isinstance(status, int) else 1
        leave(status)

    return exit


def _leave() -> None:
    """At the end of the process: leave the cluster, or end at once after a failure, so that others notice."""
    if _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status & 255 or 1)
    shutdown()
