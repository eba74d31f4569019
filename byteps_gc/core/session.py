"""This process as a worker of the cluster: start, ranks, shutdown, and its exit status. For all front ends alike.

A process that fails, with an exception or ``sys.exit(status)``, ends at once instead of waiting for workers that wait
for it.
"""

import atexit
import contextlib
import os
import sys
from typing import Any, Callable, Iterator, List, Optional

from byteps_gc import env, native
from byteps_gc.core import engine
from byteps_gc.core.state import State
from byteps_gc.errors import ExchangeError, UserError
from byteps_gc.processes import tolerate_late_wakeups

# what a worker of one process without a launcher is
ALONE = {"BYTEPS_LOCAL_RANK": "0", "BYTEPS_LOCAL_SIZE": "1", "DMLC_WORKER_ID": "0", "DMLC_NUM_WORKER": "1"}

_state: Optional[State] = None  # while BytePS runs
_status = 0  # of this process, once it has failed
_owner = 0  # process id: a forked child leaves no cluster
_has_left = False  # a cluster, which does not take workers back
_drains: List[Callable[[], Any]] = []


def start(lazy: bool = True) -> None:
    """Start BytePS in this process; a second call does nothing.

    lazy: connect to the servers at the first exchange instead of now. The cluster is described by the environment.
    Raises :class:`SettingsError` for what is missing there, :class:`EngineError` without an engine, and
    :class:`ExchangeError` if this process has left a cluster.
    """
    global _state
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
    engine.library()
    native.start(env.integer("DMLC_NUM_WORKER"), env.integer("DMLC_WORKER_ID"))
    threshold = env.min_compress_bytes()
    with _decided_here():
        engine.start()
    if not lazy:
        engine.connect()
    _state = State(threshold)


@contextlib.contextmanager
def _decided_here() -> Iterator[None]:
    """Set BytePS's threshold to 0: whether a tensor is compressed is decided once, by the front end."""
    before = os.environ.get("BYTEPS_MIN_COMPRESS_BYTES")
    os.environ["BYTEPS_MIN_COMPRESS_BYTES"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["BYTEPS_MIN_COMPRESS_BYTES"]
        else:
            os.environ["BYTEPS_MIN_COMPRESS_BYTES"] = before


def is_started() -> bool:
    """Return whether BytePS runs in this process."""
    return _state is not None


def state() -> State:
    """Return what has been declared; :class:`ExchangeError` unless BytePS runs in this process."""
    if _state is None:
        raise ExchangeError("BytePS is not running in this process; call bps.init() first")
    return _state


def threshold() -> int:
    """Return the bytes, as float32, from which a gradient is compressed: BYTEPS_MIN_COMPRESS_BYTES at the start."""
    return state().threshold


def rank() -> int:
    """Return this process's rank, from 0 to :func:`size` - 1."""
    state()
    return engine.rank()


def size() -> int:
    """Return the number of processes of all workers."""
    state()
    return engine.size()


def local_rank() -> int:
    """Return this process's rank among those of its worker, from 0: the GPU to use."""
    state()
    return engine.local_rank()


def local_size() -> int:
    """Return the number of processes of this worker."""
    state()
    return engine.local_size()


def sent_bytes() -> int:
    """Return the bytes that this process has sent to scheduler and servers since it started; 0 with one worker."""
    return engine.sent_bytes()


def received_bytes() -> int:
    """Return the bytes that this process has received from them since it started; 0 with one worker."""
    return engine.received_bytes()


def before_shutdown(drain: Callable[[], Any]) -> None:
    """Have :func:`shutdown` call ``drain`` first, which waits for the exchanges that a framework has queued.

    Called when the framework has been imported: this process then leaves its cluster before the framework ends.
    """
    _drains.append(drain)
    _leave_first()


def shutdown() -> None:
    """Leave the cluster when all exchanges are done; return when all workers and servers have been notified.

    A process that has exchanged nothing connects first: the others wait for it. A queued operation of a framework that
    has failed raises its error, once the cluster is left.
    """
    global _state, _has_left
    if not is_started():
        return
    _state, _has_left = None, env.distributed()
    try:
        if _has_left:
            engine.connect()
        for drain in (*_drains, engine.drain):  # other workers may read what this one does not
            drain()
    except Exception:
        engine.stop()
        raise
    engine.stop()


def note_failure() -> None:
    """Note that this process has failed: it ends at once, without waiting for others."""
    global _status
    _status = _status or 1


def _notice_failures() -> None:
    """Have this process end at once when it fails, with one line for a user's mistake; a second call does nothing."""
    global _owner
    if not _owner:
        sys.excepthook = _fail(sys.excepthook)
        sys.exit = _note_status(sys.exit)
        _leave_first()
    _owner = os.getpid()


def _leave_first() -> None:
    """Have this process leave its cluster at exit, before the exit handlers that are registered so far."""
    atexit.unregister(_leave)
    atexit.register(_leave)


def _fail(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return an excepthook that prints a user's mistake as one line, and notes that the process has failed."""

    def fail(kind: type, value: BaseException, trace: Any) -> None:
        global _status
        _status = 1
        if isinstance(value, UserError):
            print(f"{os.path.basename(sys.argv[0])}: {value}", file=sys.stderr)
        else:
            hook(kind, value, trace)

    return fail


def _note_status(leave: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sys.exit that notes a status of failure."""

    def exit(status: Any = None) -> None:
        global _status
        if status is not None:
            _status = status if isinstance(status, int) else 1
        leave(status)

    return exit


def _leave() -> None:
    """At the end of the process: leave the cluster, or end at once after a failure, so that others notice.

    A forked child ends at once as well: the engine's threads do not exist in it, and its destructors would crash.
    """
    if not _owner:
        return
    if _status or os.getpid() != _owner:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status & 255 or bool(_status))
    try:
        shutdown()
    except KeyboardInterrupt:
        os._exit(1)
