"""The environment of a scheduler, a server and a worker."""

from dataclasses import dataclass
import os
from typing import Dict, Mapping, Optional

from byteps_gc.engine import nvidia_driver
from byteps_gc.errors import SettingsError
from byteps_gc.variables import TABLE

LOOPBACK = "127.0.0.1"

# Variables of the caller's environment take precedence; the guide's scripts set theirs in settings.sh.
DEFAULTS = {
    "BYTEPS_LOG_LEVEL": "WARNING",
    "OMP_WAIT_POLICY": "PASSIVE",
}
# MXNet releases gradients after bulks of this many operators of backward, by default 15: small bulks let more of the
# exchange overlap with backward. On a GPU, MXNet waits for each bulk, so there its default stays.
CPU_WORKER_DEFAULTS = {"MXNET_EXEC_BULK_EXEC_MAX_NODE_TRAIN_BWD": "4"}
OMP_THREADS = 4


@dataclass(frozen=True)
class Cluster:
    """The numbers of a job's workers and servers, and the scheduler's address and port."""

    workers: int
    servers: int
    scheduler: str = LOOPBACK
    port: int = 0

    def __post_init__(self) -> None:
        for name, variable in (("workers", "DMLC_NUM_WORKER"), ("servers", "DMLC_NUM_SERVER")):
            most = TABLE[variable].most
            if not 1 <= getattr(self, name) <= most:
                raise SettingsError(f"{name}={getattr(self, name)} is not an integer from 1 to {most}")
        if not 0 <= self.port < 65536:
            raise SettingsError(f"port={self.port} is not a port from 1 to 65535 (0: any free one)")


def omp_threads(processes: int) -> int:
    """Return the threads of each of a machine's computing processes: the guide's 4, or its share of the cores."""
    return max(1, min(OMP_THREADS, len(os.sched_getaffinity(0)) // max(1, processes)))


def environment(
    cluster: Cluster,
    role: str,
    worker: Optional[int] = None,
    address: str = "",
    interface: str = "",
    neighbours: int = 1,
    base: Optional[Mapping[str, str]] = None,
) -> Dict[str, str]:
    """Return the environment of one role's process.

    role: "scheduler", "server" or "worker"; worker: its id among all workers.
    address: this host's address in the cluster; if it is empty, BytePS uses that of ``interface``, or of the first
        interface that is up.
    neighbours: number of worker processes of this host, which share its cores.
    base: the environment to inherit, by default this process's; its values take precedence over the defaults.
    """
    env = dict(os.environ if base is None else base)
    env.update(
        DMLC_ROLE=role,
        DMLC_NUM_WORKER=str(cluster.workers),
        DMLC_NUM_SERVER=str(cluster.servers),
        DMLC_PS_ROOT_URI=cluster.scheduler,
        DMLC_PS_ROOT_PORT=str(cluster.port),
        PYTHONUNBUFFERED="1",
    )
    if address:
        env["DMLC_NODE_HOST"] = address
    if interface:
        env["DMLC_INTERFACE"] = interface
    if cluster.workers == 1:
        env["BYTEPS_FORCE_DISTRIBUTED"] = "1"
    defaults = dict(DEFAULTS, OMP_NUM_THREADS=str(omp_threads(neighbours)))
    if role == "worker":
        defaults.update({} if nvidia_driver.wanted() else CPU_WORKER_DEFAULTS)
        env["DMLC_WORKER_ID"] = str(worker)
    for name, value in defaults.items():
        env.setdefault(name, value)
    return env
