"""The scheduler and servers of a job that ``torchrun`` has started, as children of its worker processes."""

import atexit
from dataclasses import dataclass
import json
import os
import socket
import subprocess
from typing import Callable, Dict, List, Sequence

from byteps_gc import env
from byteps_gc.cluster import secret, supervisor
from byteps_gc.cluster.cluster_spec import address_of, is_here
from byteps_gc.cluster.roles import LOOPBACK, Cluster, environment
from byteps_gc.errors import ClusterError, SettingsError
from byteps_gc.processes import popen

GRACE = 20.0  # seconds that scheduler and servers have to end after the last worker
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Place:
    """This process among those that torchrun has started."""

    rank: int
    workers: int
    local_rank: int
    local_workers: int
    hosts: int
    master: str  # address of rank 0's host, where the scheduler is

    @classmethod
    def from_environment(cls) -> "Place":
        """Read torchrun's variables; :class:`SettingsError` for one that is missing or wrong."""
        missing = [name for name in RANKS if not os.environ.get(name, "").isdigit()]
        if missing:
            raise SettingsError(f"torch's variable {missing[0]} is missing or no number; start the job with torchrun")
        rank, workers, local_rank, local_workers = (int(os.environ[name]) for name in RANKS)
        hosts = os.environ.get("GROUP_WORLD_SIZE", "")
        count = int(hosts) if hosts.isdigit() else -(-workers // max(1, local_workers))
        master = address_of(os.environ["MASTER_ADDR"]) if count > 1 else LOOPBACK
        return cls(rank, workers, local_rank, local_workers, count, master)

    def address(self) -> str:
        """Return the address of this host by which the others reach it."""
        if env.text("DMLC_NODE_HOST"):
            return env.text("DMLC_NODE_HOST")
        if self.master.startswith("127."):
            return LOOPBACK
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((self.master, 9))  # sends nothing
            return probe.getsockname()[0]


class Roles:
    """The processes that this one has started: they are killed when it ends."""

    def __init__(self) -> None:
        self.processes: List[subprocess.Popen] = []

    def start(self, variables: Dict[str, str], name: str, files: Sequence[int]) -> None:
        """Start a role; it prints to this process's standard error."""
        variables = dict(variables, BYTEPS_GC_ROLE=name)
        self.processes.append(
            popen(
                list(supervisor.BPSLAUNCH),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=files,
                start_new_session=True,
            )
        )

    def wait(self) -> None:
        """Wait until all have ended by themselves, as they do when the last worker has left."""
        for process in self.processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


def join(share: Callable[[bytes], bytes]) -> Roles:
    """Start this process's part of the job and set its environment as a worker's; return what was started.

    share: returns on all ranks what rank 0 passes. By it all learn the scheduler's port and the secret of the job,
    unless BYTEPS_GC_SECRET_FILE names one. The secret is kept in memory, in a file without a name.
    """
    env.check()
    place, roles = Place.from_environment(), Roles()
    atexit.register(roles.wait)  # after the worker has left its cluster: later handlers come first
    own = env.secret_file()
    offer = {}
    if place.rank == 0:
        if not is_here(place.master):
            raise ClusterError(f"MASTER_ADDR is {place.master}, which is no address of rank 0's host")
        port = env.integer("BYTEPS_GC_PORT") or supervisor.free_port(place.master)
        offer = {"port": port, "secret": "" if own else secret.new_key().decode()}
    job = json.loads(share(json.dumps(offer).encode()))
    files = []
    if not own:
        if not job["secret"]:
            raise ClusterError("rank 0 has a BYTEPS_GC_SECRET_FILE; set it on all hosts, with the same secret")
        files = [secret.in_memory(job["secret"].encode())]
        os.environ["BYTEPS_GC_SECRET_FILE"] = f"/proc/self/fd/{files[0]}"
    servers = env.integer("BYTEPS_GC_SERVERS_PER_HOST")
    cluster = Cluster(place.workers, place.hosts * servers, place.master, job["port"])
    base = {name: value for name, value in os.environ.items() if name != "DMLC_ROLE"}

    def variables(role: str) -> Dict[str, str]:
        return environment(cluster, role, place.rank, place.address(), neighbours=place.local_workers, base=base)

    if place.rank == 0:
        roles.start(variables("scheduler"), "scheduler", files)
    for index in range(servers if place.local_rank == 0 else 0):
        roles.start(variables("server"), f"server-{index}", files)
    worker = variables("worker")
    os.environ.update({name: value for name, value in worker.items() if name not in ("PYTHONUNBUFFERED",)})
    os.environ.update(BYTEPS_LOCAL_RANK="0", BYTEPS_LOCAL_SIZE="1", BYTEPS_GC_ROLE=f"worker-{place.rank}")
    return roles
