"""This process as a worker: start, ranks and shutdown, under ``python -m byteps_gc launch`` or ``torchrun``."""

import os
from typing import Any

from byteps_gc import env
from byteps_gc.core import session
from byteps_gc.core.session import rank, size
from byteps_gc.errors import ExchangeError, SettingsError
import torch

__all__ = ["init", "local_rank", "local_size", "rank", "shutdown", "size"]

FRONT_END = "torch"
# what torchrun sets; without DMLC_ROLE, no other launcher has started this process
TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")

_roles: Any = None  # the scheduler and servers that this process has started
_store: Any = None  # of torch's rendezvous; rank 0 may serve it, so it lives as long as this process


def init() -> None:
    """Start BytePS in this process and connect to the cluster; a second call does nothing.

    Under ``python -m byteps_gc launch`` the environment describes the cluster. Under ``torchrun`` this starts it: the
    first process of each host starts BYTEPS_GC_SERVERS_PER_HOST servers, rank 0 starts the scheduler, and they end with
    the job. Without either, this process is alone.

    Raises :class:`SettingsError` for a variable that is missing or wrong, :class:`EngineError` if BytePS is not
    installed, and :class:`ExchangeError` after :func:`shutdown` of a cluster, which does not take workers back.
    """
    global _roles
    if session.is_started():
        return
    if not os.environ.get("DMLC_ROLE") and all(os.environ.get(name) for name in TORCHRUN) and _world_size() > 1:
        from byteps_gc.cluster import torchrun  # here: the cluster's layer is above this one

        _roles = torchrun.join(_share)
    if env.integer("BYTEPS_LOCAL_SIZE") > 1:
        raise SettingsError(
            "byteps_gc.torch needs one worker for each process: start one worker per GPU, and unset"
            " NVIDIA_VISIBLE_DEVICES"
        )
    session.start(lazy=False)


def shutdown() -> None:
    """Leave the cluster when all exchanges are done; wait for what :func:`init` has started."""
    session.shutdown()
    if _roles is not None:
        _roles.wait()


def local_rank() -> int:
    """Return this process's rank among those of its host, from 0: the GPU to use."""
    session.state()
    return _local("LOCAL_RANK", 0)


def local_size() -> int:
    """Return the number of processes on this host."""
    session.state()
    return _local("LOCAL_WORLD_SIZE", 1)


def _local(name: str, default: int) -> int:
    return int(os.environ[name]) if os.environ.get(name, "").isdigit() else default


def _world_size() -> int:
    try:
        return int(os.environ["WORLD_SIZE"])
    except ValueError:
        raise SettingsError(f"WORLD_SIZE={os.environ['WORLD_SIZE']} is not an integer") from None


def _share(content: bytes) -> bytes:
    """Return what rank 0 passes, on all ranks: through torch's rendezvous store, which needs no process group."""
    global _store
    if not torch.distributed.is_available():
        raise ExchangeError("this PyTorch has no torch.distributed; start the job with python -m byteps_gc launch")
    rendezvous, rank, _ = next(iter(torch.distributed.rendezvous("env://")))
    _store = torch.distributed.PrefixStore("byteps_gc", rendezvous)
    if rank == 0:
        _store.set("job", content)
    return _store.get("job")
